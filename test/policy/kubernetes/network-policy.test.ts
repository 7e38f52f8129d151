import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { familyOf, parseIp } from '../../../src/ip/address.ts';
import { contains, parseCidr } from '../../../src/ip/cidr.ts';
import { collectPolicies } from '../../../src/policy/collect.ts';
import { explain } from '../../../src/policy/explain/explain.ts';
import { readCluster } from '../../../src/policy/manifest.ts';
import type { PodEntity } from '../../../src/policy/model/entity.ts';
import { protocolNamed } from '../../../src/policy/model/traffic.ts';

/*
 * The semantics again, straight from the objects as the API's documentation states them, to compare with.
 */
type Labels = Record<string, string>;
type Selector = {
  matchLabels?: Labels;
  matchExpressions?: { key: string; operator: string; values?: string[] }[];
};
type RawPeer = {
  podSelector?: Selector;
  namespaceSelector?: Selector;
  ipBlock?: { readonly cidr: string; readonly except?: readonly string[] };
};
type RawPort = { protocol?: string; port?: number | string; endPort?: number };
type RawRule = { from?: RawPeer[]; to?: RawPeer[]; ports?: RawPort[] };
type RawPolicy = {
  kind: 'NetworkPolicy';
  metadata: { name: string; namespace: string };
  spec: { podSelector: Selector; policyTypes?: string[]; ingress?: RawRule[]; egress?: RawRule[] };
};
type RawPod = {
  kind: 'Pod';
  metadata: { name: string; namespace: string; labels: Labels };
  spec: { containers: { ports: { name: string; containerPort: number; protocol: string }[] }[] };
  status: { podIP: string };
};
type RawNamespace = { kind: 'Namespace'; metadata: { name: string; labels: Labels } };

function selects({ matchLabels = {}, matchExpressions = [] }: Selector, labels: Labels): boolean {
  const equal = Object.entries(matchLabels).every(([key, value]) => labels[key] === value);
  return (
    equal &&
    matchExpressions.every(({ key, operator, values = [] }) => {
      const value = labels[key];
      switch (operator) {
        case 'In':
          return value !== undefined && values.includes(value);
        case 'NotIn':
          return value === undefined || !values.includes(value);
        case 'Exists':
          return value !== undefined;
        default:
          return value === undefined;
      }
    })
  );
}

type World = { pods: RawPod[]; namespaces: RawNamespace[]; policies: RawPolicy[] };
type Connection = { from: string; to: string; protocol: string; port: number };

function isAllowed(world: World, { from, to, protocol, port }: Connection): boolean {
  if (from === to) return true;
  const { pods, namespaces, policies } = world;
  const podAt = (ip: string): RawPod | undefined => pods.find(({ status }) => status.podIP === ip);
  const namespaceOf = (pod: RawPod): Labels => {
    const { namespace } = pod.metadata;
    const labels = namespaces.find(({ metadata }) => metadata.name === namespace)?.metadata.labels ?? {};
    return { ...labels, 'kubernetes.io/metadata.name': namespace };
  };
  const direction = (type: 'Ingress' | 'Egress', own: string, other: string): boolean => {
    const pod = podAt(own);
    if (!pod) return true;
    const about = policies.filter(({ metadata, spec }) => {
      const types = spec.policyTypes?.length
        ? spec.policyTypes
        : ['Ingress', ...(spec.egress?.length ? ['Egress'] : [])];
      return (
        metadata.namespace === pod.metadata.namespace &&
        types.includes(type) &&
        selects(spec.podSelector, pod.metadata.labels)
      );
    });
    if (about.length === 0) return true;
    const destination = podAt(to);
    return about.some(({ metadata, spec }) =>
      ((type === 'Ingress' ? spec.ingress : spec.egress) ?? []).some((rule) => {
        const peers = (type === 'Ingress' ? rule.from : rule.to) ?? [];
        const peerIs = peers.some(({ podSelector, namespaceSelector, ipBlock }) => {
          if (ipBlock) {
            const inside = (cidr: string): boolean => contains(parseCidr(cidr), parseIp(other));
            return inside(ipBlock.cidr) && !(ipBlock.except ?? []).some(inside);
          }
          const peer = podAt(other);
          if (!peer) return false;
          if (
            namespaceSelector
              ? !selects(namespaceSelector, namespaceOf(peer))
              : peer.metadata.namespace !== metadata.namespace
          )
            return false;
          return podSelector ? selects(podSelector, peer.metadata.labels) : true;
        });
        const portIs = (rule.ports ?? []).some((each) => {
          if ((each.protocol ?? 'TCP') !== protocol) return false;
          if (each.port === undefined) return true;
          if (typeof each.port === 'number') return each.port <= port && port <= (each.endPort ?? each.port);
          const named = destination?.spec.containers.flatMap(({ ports }) => ports) ?? [];
          return named.some(
            (one) => one.name === each.port && one.protocol === protocol && one.containerPort === port,
          );
        });
        return (peers.length === 0 || peerIs) && ((rule.ports ?? []).length === 0 || portIs);
      }),
    );
  };
  return direction('Egress', from, to) && direction('Ingress', to, from);
}

const key = fc.constantFrom('a', 'b');
const value = fc.constantFrom('x', 'y');
const labels = fc.dictionary(key, value, { maxKeys: 2 });
const selector: fc.Arbitrary<Selector> = fc.record(
  {
    matchLabels: labels,
    matchExpressions: fc.array(
      fc.oneof(
        fc.record({
          key,
          operator: fc.constantFrom('In', 'NotIn'),
          values: fc.array(value, { minLength: 1, maxLength: 2 }),
        }),
        fc.record({ key, operator: fc.constantFrom('Exists', 'DoesNotExist') }),
      ),
      { maxLength: 1 },
    ),
  },
  { requiredKeys: [] },
);
const protocol = fc.constantFrom('TCP', 'UDP', 'SCTP');
const peer: fc.Arbitrary<RawPeer> = fc.oneof(
  fc.record({ podSelector: selector }),
  fc.record({ namespaceSelector: selector }),
  fc.record({ podSelector: selector, namespaceSelector: selector }),
  fc.record({
    ipBlock: fc.constantFrom(
      { cidr: '0.0.0.0/0' },
      { cidr: '10.0.0.0/8', except: ['10.0.0.0/30'] },
      { cidr: '192.0.2.0/24', except: ['192.0.2.128/25'] },
      { cidr: '10.0.0.2/32' },
    ),
  }),
);
const rawPort: fc.Arbitrary<RawPort> = fc.oneof(
  fc.record({ protocol, port: fc.constantFrom<number | string>(80, 'http') }, { requiredKeys: [] }),
  fc.record(
    { protocol, port: fc.constant(79), endPort: fc.constantFrom(79, 81, 65535) },
    { requiredKeys: ['port'] },
  ),
);
const rules = (field: 'from' | 'to') =>
  fc.array(
    fc.record(
      { [field]: fc.array(peer, { maxLength: 2 }), ports: fc.array(rawPort, { maxLength: 2 }) },
      { requiredKeys: [] },
    ),
    { maxLength: 2 },
  );
const namespace = fc.constantFrom('n1', 'n2');
const world: fc.Arbitrary<World> = fc.record({
  pods: fc
    .array(
      fc.record({
        namespace,
        labels,
        ports: fc.array(
          fc.record({ name: fc.constant('http'), containerPort: fc.constantFrom(80, 8080), protocol }),
          { maxLength: 1 },
        ),
      }),
      { minLength: 1, maxLength: 4 },
    )
    .map((all) =>
      all.map(({ namespace: of, labels: own, ports }, i) => ({
        kind: 'Pod' as const,
        metadata: { name: `p${i}`, namespace: of, labels: own },
        spec: { containers: [{ ports }] },
        status: { podIP: `10.0.0.${i + 1}` },
      })),
    ),
  namespaces: fc
    .tuple(labels, labels)
    .map((both) =>
      both.map((own, i) => ({ kind: 'Namespace' as const, metadata: { name: `n${i + 1}`, labels: own } })),
    ),
  policies: fc
    .array(
      fc.tuple(
        namespace,
        fc.record(
          {
            podSelector: selector,
            policyTypes: fc.subarray(['Ingress', 'Egress']),
            ingress: rules('from') as fc.Arbitrary<RawRule[]>,
            egress: rules('to') as fc.Arbitrary<RawRule[]>,
          },
          { requiredKeys: ['podSelector'] },
        ),
      ),
      { maxLength: 3 },
    )
    .map((all) =>
      all.map(([of, spec], i) => ({
        kind: 'NetworkPolicy' as const,
        metadata: { name: `policy${i}`, namespace: of },
        spec,
      })),
    ),
});

test('NetworkPolicies mean what the API says they mean', () => {
  const address = fc.constantFrom('10.0.0.1', '10.0.0.2', '10.0.0.3', '10.0.0.9', '192.0.2.1', '192.0.2.200');
  const connection = fc.record({
    from: address,
    to: address,
    protocol,
    port: fc.constantFrom(78, 79, 80, 81, 8080),
  });
  fc.assert(
    fc.property(world, fc.array(connection, { minLength: 1, maxLength: 20 }), (all, connections) => {
      const items = [...all.pods, ...all.namespaces, ...all.policies].map((object) => ({
        value: object,
        where: '',
      }));
      const { tiers, entities, problems } = readCluster(items);
      assert.deepEqual(problems, []);
      const end = (ip: string) => {
        const pod = entities.find(
          (each): each is PodEntity => each.kind === 'pod' && each.addresses.includes(parseIp(ip)),
        );
        return { ip: parseIp(ip), ...(pod && { pod }) };
      };
      for (const each of connections) {
        const flow = {
          family: familyOf(parseIp(each.from)),
          protocol: protocolNamed(each.protocol) ?? 0,
          port: each.port,
        };
        const { verdict } = explain(
          { tiers, entities, names: new Map() },
          end(each.from),
          end(each.to),
          flow,
        );
        assert.equal(verdict, isAllowed(all, each) ? 'allowed' : 'denied', JSON.stringify(each));
      }
    }),
    { numRuns: 1000 },
  );
});

test('what cannot be read is named and closes its own pods alone', () => {
  const spec = (part: object): object => ({
    podSelector: {},
    ingress: [{ from: [{ podSelector: {} }], ...part }],
  });
  const cases: readonly [unknown, RegExp][] = [
    [
      spec({ ports: [{ port: 0 }] }),
      /ingress\[0\]\.ports\[0\]\.port: must be a whole number from 1 to 65535/,
    ],
    [spec({ ports: [{ port: 80, endPort: 79 }] }), /endPort: 79 is below port 80/],
    [spec({ ports: [{ endPort: 79 }] }), /endPort: needs port/],
    [spec({ ports: [{ port: 'http', endPort: 79 }] }), /endPort: needs a numeric port/],
    [spec({ ports: [{ port: 'HTTP!' }] }), /port: 'HTTP!' is no port’s name/],
    [spec({ ports: [{ protocol: 'tcp' }] }), /protocol: must be TCP, UDP or SCTP, not 'tcp'/],
    [spec({ from: [{}] }), /from\[0\]\.podSelector: is missing/],
    [spec({ from: [{ ipBlock: { cidr: '10.0.0.0/33' } }] }), /ipBlock\.cidr/],
    [
      spec({ from: [{ ipBlock: { cidr: '10.0.0.0/8', except: ['11.0.0.0/9'] } }] }),
      /except\[0\]: 11\.0\.0\.0\/9 is not a part of 10\.0\.0\.0\/8/,
    ],
    [spec({ from: [{ ipBlock: { cidr: '10.0.0.0/8' }, podSelector: {} }] }), /ipBlock: must be alone/],
    [
      spec({ from: [{ podSelector: { matchExpressions: [{ key: 'a', operator: 'in', values: ['b'] }] } }] }),
      /operator: must be In, NotIn/,
    ],
    [
      spec({ from: [{ podSelector: { matchExpressions: [{ key: 'a', operator: 'In' }] } }] }),
      /values: must not be empty with In/,
    ],
    [
      spec({ from: [{ podSelector: { matchLabels: { a: 7 } } }] }),
      /matchLabels\["a"\]: must be a label’s value/,
    ],
    [spec({ via: 'x' }), /ingress\[0\]\.via: is not a known key/],
    [{ podSelector: {}, policyTypes: ['ingress'] }, /policyTypes\[0\]: must be Ingress or Egress/],
  ];
  for (const [written, expected] of cases) {
    const { tiers, problems } = collectPolicies([
      { kind: 'NetworkPolicy', namespace: 'a', name: 'broken', spec: written },
      { kind: 'NetworkPolicy', namespace: 'a', name: 'sound', spec: { podSelector: {}, ingress: [{}] } },
    ]);
    const [{ problem = '', policy } = {}, ...others] = problems;
    assert.match(problem, expected);
    assert.deepEqual([policy, others], [{ kind: 'NetworkPolicy', namespace: 'a', name: 'broken' }, []]);
    const [broken, sound] = tiers.flatMap(({ policies }) => policies);
    assert.deepEqual([broken?.ingress, broken?.egress, sound?.ingress?.length], [[], [], 1]);
  }
});
