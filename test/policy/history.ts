import fc from 'fast-check';
import type { LocalPod } from '../../src/cluster/node.ts';
import type { Labels } from '../../src/cluster/selector.ts';
import { type Ip, parseIp } from '../../src/ip/address.ts';
import { parseCidr } from '../../src/ip/cidr.ts';
import { parseMac } from '../../src/ip/mac.ts';
import { type Collected, collectPolicies, type Written } from '../../src/policy/collect.ts';
import { namespaceLabels, nodeEntity, podEntity } from '../../src/policy/kubernetes/pod.ts';
import type { NetworkSetEntity, NodeEntity, PodEntity } from '../../src/policy/model/entity.ts';
import type { PolicyView } from '../../src/policy/model/view.ts';

/** What there may be, by kind and name; undefined: it is not there. */
export type Event =
  | { readonly kind: 'pod'; readonly name: string; readonly value: object | undefined }
  | { readonly kind: 'namespace'; readonly name: string; readonly value: Labels | undefined }
  | { readonly kind: 'node'; readonly name: string; readonly value: object | undefined }
  | { readonly kind: 'policy'; readonly name: string; readonly value: Written | undefined }
  | { readonly kind: 'set'; readonly name: string; readonly value: NetworkSetEntity | undefined }
  /** An address, and the names that it has. */
  | { readonly kind: 'address'; readonly name: string; readonly value: readonly string[] | undefined }
  | { readonly kind: 'local'; readonly name: string; readonly value: LocalPod | undefined };

/** A cluster as a store follows it: what an event does not concern stays the same objects. */
export class History {
  readonly #pods = new Map<string, PodEntity>();
  readonly #labelled = new WeakMap<PodEntity, PodEntity>();
  readonly #namespaces = new Map<string, Labels>();
  readonly #nodes = new Map<string, NodeEntity>();
  readonly #sets = new Map<string, NetworkSetEntity>();
  readonly #policies = new Map<string, Written>();
  readonly #local = new Map<string, LocalPod>();
  #addresses: ReadonlyMap<Ip, readonly string[]> = new Map();
  #collected: Collected | undefined;

  take({ kind, name, value }: Event): void {
    if (kind === 'pod') put(this.#pods, name, value && podEntity({ ...value }, NOBODY));
    else if (kind === 'namespace') put(this.#namespaces, name, value && namespaceLabels(name, value));
    else if (kind === 'node') put(this.#nodes, name, value && nodeEntity({ ...value }));
    else if (kind === 'set') put(this.#sets, name, value);
    else if (kind === 'local') put(this.#local, name, value);
    else if (kind === 'address') this.#setAddress(parseIp(name), value);
    else {
      put(this.#policies, name, value);
      this.#collected = undefined;
    }
  }

  get local(): readonly LocalPod[] {
    return [...this.#local.values()];
  }

  /** What domain names stand for: a new map after each change. */
  get addresses(): ReadonlyMap<Ip, readonly string[]> {
    return this.#addresses;
  }

  #setAddress(ip: Ip, names: readonly string[] | undefined): void {
    const next = new Map(this.#addresses);
    put(next, ip, names);
    this.#addresses = next;
  }

  get view(): PolicyView {
    this.#collected ??= collectPolicies([...this.#policies.values()]);
    const { tiers, problems } = this.#collected;
    const pods = new Map([...this.#pods].map(([key, pod]) => [key, this.#label(pod)]));
    return { tiers, problems, pods, others: [...this.#nodes.values(), ...this.#sets.values()] };
  }

  #label(pod: PodEntity): PodEntity {
    const labels = this.#namespaces.get(pod.namespace) ?? namespaceLabels(pod.namespace);
    const last = this.#labelled.get(pod);
    if (last?.namespaceLabels === labels) return last;
    const labelled = { ...pod, namespaceLabels: labels };
    this.#labelled.set(pod, labelled);
    return labelled;
  }
}

const NOBODY = { ofNamespace: () => ({}), ofServiceAccount: () => ({}) };

function put<T>(map: Map<string, T>, key: string, value: T | undefined): void {
  if (value === undefined) map.delete(key);
  else map.set(key, value);
}

const NAMESPACES = ['x', 'y'];
const PODS = NAMESPACES.flatMap((namespace) => ['a', 'b', 'c', 'd'].map((name) => ({ namespace, name })));

const labels = fc.dictionary(fc.constantFrom('app', 'tier'), fc.constantFrom('1', '2', '3'), { maxKeys: 2 });
const selector = fc.oneof(
  labels.map((matchLabels) => ({ matchLabels })),
  fc.constantFrom('app', 'tier').map((key) => ({ matchExpressions: [{ key, operator: 'Exists' }] })),
);
const net = fc.constantFrom(
  '10.0.0.0/30',
  '10.0.0.0/24',
  '192.0.2.0/24',
  '192.0.2.128/25',
  '198.51.100.0/24',
);
const peer = fc.oneof(
  selector.map((podSelector) => ({ podSelector })),
  fc
    .tuple(selector, selector)
    .map(([podSelector, namespaceSelector]) => ({ podSelector, namespaceSelector })),
  net.map((cidr) => ({ ipBlock: { cidr } })),
  fc.constant({ ipBlock: { cidr: '192.0.2.0/24', except: ['192.0.2.64/26'] } }),
);
const port = fc.oneof(
  fc.record({
    protocol: fc.constantFrom('TCP', 'UDP'),
    port: fc.constantFrom<number | string>(80, 81, 'web'),
  }),
  fc.constant({ port: 80, endPort: 90 }),
);
const rules = (ends: 'from' | 'to') =>
  fc.array(fc.record({ [ends]: fc.array(peer, { maxLength: 3 }), ports: fc.array(port, { maxLength: 2 }) }), {
    maxLength: 2,
  });

const networkPolicy = (name: string): fc.Arbitrary<Written> =>
  fc
    .record({
      namespace: fc.constantFrom(...NAMESPACES),
      podSelector: selector,
      ingress: rules('from'),
      egress: rules('to'),
    })
    .map(({ namespace, ...spec }) => ({ kind: 'NetworkPolicy', namespace, name, spec }));

const clusterPolicy = (name: string): fc.Arbitrary<Written> =>
  fc
    .record({
      tier: fc.constantFrom('Admin', 'Baseline'),
      priority: fc.nat(2),
      subject: selector.map((namespaces) => ({ namespaces })),
      egress: fc.array(
        fc.record({
          action: fc.constantFrom('Accept', 'Deny', 'Pass'),
          to: fc.array(
            fc.oneof(
              selector.map((namespaces) => ({ namespaces })),
              net.map((each) => ({ networks: [each] })),
              selector.map((nodes) => ({ nodes })),
              // Where it may not be, the policy cannot be read.
              fc.constant({ domainNames: ['*.example.org'] }),
            ),
            { minLength: 1, maxLength: 2 },
          ),
        }),
        { maxLength: 2 },
      ),
    })
    .map((spec) => ({ kind: 'ClusterNetworkPolicy', name, spec }));

/** It would take the place of the NetworkPolicy of its name. */
const stagedPolicy = (name: string): fc.Arbitrary<Written> =>
  networkPolicy(name).map((written) => ({ ...written, kind: 'StagedKubernetesNetworkPolicy' }));

const calicoPolicy = (name: string): fc.Arbitrary<Written> =>
  fc
    .record({
      order: fc.nat(2),
      selector: fc.constantFrom('all()', 'has(app)', "app == '1'"),
      ingress: fc.array(
        fc.record({
          action: fc.constantFrom('Allow', 'Deny', 'Log', 'Pass'),
          source: fc.constantFrom({ selector: "place == 'office'" }, { notNets: ['192.0.2.0/24'] }, {}),
        }),
        { maxLength: 3 },
      ),
    })
    .map((spec) => ({ kind: 'GlobalNetworkPolicy', name, spec: { ...spec, types: ['Ingress'] } }));

const networkSet: fc.Arbitrary<NetworkSetEntity> = fc
  .record({ place: fc.constantFrom('office', 'home'), nets: fc.array(net, { maxLength: 2 }) })
  .map(({ place, nets }) => ({
    kind: 'network-set',
    namespace: undefined,
    name: 'set',
    labels: { place },
    namespaceLabels: {},
    nets: [...new Set(nets)].map(parseCidr),
  }));

/** Policies of one kind, or none of the name. */
const policies = (
  names: readonly string[],
  of: (name: string) => fc.Arbitrary<Written>,
): fc.Arbitrary<Event> =>
  fc
    .constantFrom(...names)
    .chain((name) =>
      fc
        .option(of(name), { nil: undefined })
        .map((value): Event => ({ kind: 'policy', name: `${of.name} ${name}`, value })),
    );

/** One thing, as it may be at some time. */
const event: fc.Arbitrary<Event> = fc.oneof(
  fc.constantFrom(...PODS.keys()).chain((i) =>
    fc
      .option(
        fc.record({
          labels,
          containerPort: fc.constantFrom(80, 8080),
          phase: fc.constantFrom('Running', 'Running', 'Succeeded'),
          // Its own, or another pod's.
          address: fc.constantFrom(i, i, (i + 1) % PODS.length),
          startTime: fc.constantFrom('2026-11-30T12:00:00Z', '2026-11-30T12:00:01Z'),
        }),
        { nil: undefined },
      )
      .map((value): Event => ({ kind: 'pod', name: nameOf(i), value: value && podObject(i, value) })),
  ),
  fc
    .constantFrom(...NAMESPACES)
    .chain((name) =>
      fc.option(labels, { nil: undefined }).map((value): Event => ({ kind: 'namespace', name, value })),
    ),
  fc
    .option(labels, { nil: undefined })
    .map((value): Event => ({ kind: 'node', name: 'n', value: value && nodeObject(value) })),
  policies(['p0', 'p1', 'p2'], networkPolicy),
  policies(['c0', 'c1'], clusterPolicy),
  policies(['p0'], stagedPolicy),
  policies(['default.g'], calicoPolicy),
  fc.option(networkSet, { nil: undefined }).map((value): Event => ({ kind: 'set', name: 'set', value })),
  fc
    .tuple(
      fc.constantFrom('192.0.2.1', '203.0.113.1'),
      fc.constantFrom(undefined, ['www.example.org'], ['www.example.net']),
    )
    .map(([name, value]): Event => ({ kind: 'address', name, value })),
  fc
    .constantFrom(...PODS.keys())
    .chain((i) =>
      fc
        .boolean()
        .map(
          (isHere): Event => ({ kind: 'local', name: nameOf(i), value: isHere ? localPod(i) : undefined }),
        ),
    ),
);

/** Any events; what they end in, in some other order; and after which of them all somebody looks. */
export const history = fc
  .record({
    before: fc.array(event, { maxLength: 40 }),
    last: fc.uniqueArray(event, { maxLength: 25, minLength: 5, selector: keyOf }),
    order: fc.infiniteStream(fc.nat(1000)),
    looks: fc.infiniteStream(fc.boolean()),
  })
  .map(({ before, last, order, looks }) => {
    // What is not to be there in the end goes again.
    const known = new Set(last.map(keyOf));
    const gone = before
      .filter((each) => !known.has(keyOf(each)))
      .map((each): Event => ({ ...each, value: undefined }));
    const end = [...last, ...gone];
    const weights = [...order.take(end.length)];
    const shuffled = end
      .map((each, i) => ({ each, weight: weights[i] ?? 0 }))
      .toSorted((a, b) => a.weight - b.weight)
      .map(({ each }) => each);
    // Some come twice.
    const twice = shuffled.flatMap((each, i) => ((weights[i] ?? 0) % 4 === 0 ? [each, each] : [each]));
    const all = [...before, ...twice];
    const seen = [...looks.take(all.length)];
    return { events: all.map((each, i) => ({ each, isLookedAt: seen[i] === true })), end: last };
  });

function keyOf({ kind, name }: Event): string {
  return `${kind} ${name}`;
}

function nameOf(i: number): string {
  return `${PODS[i]?.namespace}/${PODS[i]?.name}`;
}

function podObject(
  i: number,
  of: { labels: Labels; containerPort: number; phase: string; address: number; startTime: string },
): object {
  const { namespace, name } = PODS[i] ?? {};
  return {
    metadata: { name, namespace, labels: of.labels, uid: `uid-${i}` },
    spec: { containers: [{ ports: [{ name: 'web', containerPort: of.containerPort }] }] },
    status: { phase: of.phase, podIP: `10.0.0.${of.address + 1}`, startTime: of.startTime },
  };
}

function nodeObject(own: Labels): object {
  return { metadata: { name: 'n', labels: own }, status: { addresses: [{ address: '198.51.100.1' }] } };
}

function localPod(i: number): LocalPod {
  return {
    ...PODS[i],
    uid: `uid-${i}`,
    labels: {},
    containerId: `container-${i}`,
    ifName: 'eth0',
    netns: '/run/netns/x',
    addresses: [parseIp(`10.0.0.${i + 1}`)],
    mac: parseMac('02:00:00:00:00:01'),
    hostDevice: `veth${i}`,
  };
}
