import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { parseIp } from '../../../src/ip/address.ts';
import { contains, parseCidr } from '../../../src/ip/cidr.ts';
import { collectPolicies } from '../../../src/policy/collect.ts';
import { compilePolicies } from '../../../src/policy/compile/compile.ts';
import { explain } from '../../../src/policy/explain/explain.ts';
import { readCluster } from '../../../src/policy/manifest.ts';
import type { PodEntity } from '../../../src/policy/model/entity.ts';
import { protocolNamed } from '../../../src/policy/model/traffic.ts';
import { walk } from '../compiled.ts';

/*
 * The semantics again, as Calico's documentation states them and Felix carries them out: all that selectors
 * see of an endpoint is one flat set of labels, and whatever they select is a set of addresses.
 */
type Labels = Record<string, string>;
type RawEntity = {
  nets?: string[];
  notNets?: string[];
  selector?: string;
  notSelector?: string;
  namespaceSelector?: string;
  serviceAccounts?: { names?: string[]; selector?: string };
  ports?: (number | string)[];
  notPorts?: (number | string)[];
};
type RawRule = {
  action: 'Allow' | 'Deny' | 'Log' | 'Pass';
  ipVersion?: number;
  protocol?: string | number;
  notProtocol?: string | number;
  icmp?: { type: number; code?: number };
  notICMP?: { type: number; code?: number };
  source?: RawEntity;
  destination?: RawEntity;
};
type RawPolicy = {
  apiVersion: string;
  kind: string;
  metadata: { name: string; namespace?: string };
  spec: {
    tier?: string;
    order?: number;
    selector?: string;
    namespaceSelector?: string;
    serviceAccountSelector?: string;
    types?: string[];
    ingress?: RawRule[];
    egress?: RawRule[];
  };
};
type RawTier = {
  apiVersion: string;
  kind: 'Tier';
  metadata: { name: string };
  spec: { order?: number; defaultAction?: string };
};
type RawPod = {
  kind: 'Pod';
  metadata: { name: string; namespace: string; labels: Labels };
  spec: { serviceAccountName: string; containers: { ports: { name: string; containerPort: number }[] }[] };
  status: { podIP: string };
};
type RawSet = {
  apiVersion: string;
  kind: string;
  metadata: { name: string; namespace?: string; labels: Labels };
  spec: { nets: string[] };
};
type RawKubernetes = {
  apiVersion: string;
  kind: 'NetworkPolicy';
  metadata: { name: string; namespace: string };
  spec: { podSelector: object; policyTypes: string[]; ingress: object[]; egress: object[] };
};
type Labelled = { kind: string; metadata: { name: string; namespace?: string; labels: Labels } };
type World = {
  pods: RawPod[];
  namespaces: Labelled[];
  accounts: Labelled[];
  sets: RawSet[];
  tiers: RawTier[];
  policies: RawPolicy[];
  kubernetes: RawKubernetes[];
};
type Connection = { from: string; to: string; protocol: string; port: number; type: number };

/** The selectors that are tried, and what they mean for labels under a prefix. */
const SELECTORS: Record<string, (labels: Labels, prefix: string) => boolean> = {
  'all()': () => true,
  'has(a)': (labels, prefix) => `${prefix}a` in labels,
  "!has(b) || a == 'x'": (labels, prefix) => !(`${prefix}b` in labels) || labels[`${prefix}a`] === 'x',
  "a == 'x'": (labels, prefix) => labels[`${prefix}a`] === 'x',
  "a != 'x'": (labels, prefix) => labels[`${prefix}a`] !== 'x',
  "b in {'x', 'y'}": (labels, prefix) => ['x', 'y'].includes(labels[`${prefix}b`] ?? ''),
  "projectcalico.org/name == 'n1'": (labels, prefix) => labels[`${prefix}projectcalico.org/name`] === 'n1',
  "projectcalico.org/namespace == 'n1'": (labels, prefix) =>
    labels[`${prefix}projectcalico.org/namespace`] === 'n1',
  "has(projectcalico.org/orchestrator) && pcns.a == 'x'": (labels, prefix) =>
    `${prefix}projectcalico.org/orchestrator` in labels && labels[`${prefix}pcns.a`] === 'x',
  "projectcalico.org/serviceaccount == 's1'": (labels, prefix) =>
    labels[`${prefix}projectcalico.org/serviceaccount`] === 's1',
};

type Endpoint = { labels: Labels; nets: string[] };

function endpointsOf({ pods, namespaces, accounts, sets }: World): Endpoint[] {
  const inherited = (prefix: string, labels: Labels, name: string): Labels =>
    Object.fromEntries(
      Object.entries({ ...labels, 'projectcalico.org/name': name }).map(([key, value]) => [
        prefix + key,
        value,
      ]),
    );
  const ofNamespace = (name: string): Labels =>
    inherited(
      'pcns.',
      namespaces.find(({ metadata }) => metadata.name === name)?.metadata.labels ?? {},
      name,
    );
  return [
    ...pods.map(({ metadata: { namespace, labels }, spec, status }) => {
      const account = spec.serviceAccountName;
      const found = accounts.find(
        ({ metadata }) => metadata.name === account && metadata.namespace === namespace,
      );
      return {
        labels: {
          ...labels,
          ...ofNamespace(namespace),
          ...inherited('pcsa.', found?.metadata.labels ?? {}, account),
          'projectcalico.org/namespace': namespace,
          'projectcalico.org/orchestrator': 'k8s',
          'projectcalico.org/serviceaccount': account,
        },
        nets: [`${status.podIP}/32`],
      };
    }),
    ...sets.map(({ metadata: { namespace, labels }, spec }) => ({
      labels: {
        ...labels,
        ...(namespace && { ...ofNamespace(namespace), 'projectcalico.org/namespace': namespace }),
      },
      nets: spec.nets,
    })),
  ];
}

function isIn(nets: string[], ip: string): boolean {
  return nets.some((net) => contains(parseCidr(net.includes('/') ? net : `${net}/32`), parseIp(ip)));
}

type Condition = (labels: Labels) => boolean;

/** The value of a selector that is there. */
function conditionsOf(selector: string | undefined, prefix = ''): Condition[] {
  if (!selector) return [];
  return [(labels) => SELECTORS[selector]?.(labels, prefix) ?? assert.fail(selector)];
}

function namespaceConditions(selector: string | undefined): Condition[] {
  const isNamespaced: Condition = (labels) => 'projectcalico.org/namespace' in labels;
  if (selector === 'all()') return [isNamespaced];
  if (selector === 'global()') return [(labels) => !isNamespaced(labels)];
  return conditionsOf(selector, 'pcns.');
}

function isAllowed(world: World, connection: Connection): boolean {
  const { from, to, protocol, port, type } = connection;
  if (from === to) return true;
  const endpoints = endpointsOf(world);
  const podAt = (ip: string): RawPod | undefined => world.pods.find(({ status }) => status.podIP === ip);
  const isSelected = (conditions: Condition[], ip: string): boolean =>
    endpoints.some(({ labels, nets }) => conditions.every((each) => each(labels)) && isIn(nets, ip));
  const portIs = (each: number | string): boolean => {
    if (typeof each === 'number') return each === port;
    const [first, last] = each.split(':').map(Number);
    if (last !== undefined) return (first ?? 0) <= port && port <= last;
    const ports = podAt(to)?.spec.containers.flatMap((container) => container.ports) ?? [];
    return (
      protocol === 'TCP' && ports.some(({ name, containerPort }) => name === each && containerPort === port)
    );
  };
  const endIs = (entity: RawEntity, ip: string, namespace: string | undefined): boolean => {
    const { nets, notNets, selector, notSelector, namespaceSelector, serviceAccounts } = entity;
    const names = serviceAccounts?.names ?? [];
    const own: Condition[] = [
      ...conditionsOf(selector),
      ...conditionsOf(serviceAccounts?.selector, 'pcsa.'),
      ...(names.length > 0
        ? [(labels: Labels) => names.includes(labels['projectcalico.org/serviceaccount'] ?? '')]
        : []),
    ];
    const inOwn: Condition = (labels) => labels['projectcalico.org/namespace'] === namespace;
    const of = namespaceSelector
      ? namespaceConditions(namespaceSelector)
      : namespace && (own.length > 0 || notSelector)
        ? [inOwn]
        : [];
    const all = [...of, ...own];
    return (
      (!nets?.length || isIn(nets, ip)) &&
      !isIn(notNets ?? [], ip) &&
      (all.length === 0 || isSelected(all, ip)) &&
      !(notSelector && isSelected(conditionsOf(notSelector), ip))
    );
  };
  const protocolIs = (written: string | number): boolean =>
    written === protocol || written === protocolNamed(protocol);
  const icmpIs = (icmp: { type: number; code?: number }): boolean =>
    icmp.type === type && (icmp.code === undefined || icmp.code === 0);
  const ruleIs = (rule: RawRule, namespace: string | undefined): boolean => {
    const { ipVersion, notProtocol, icmp, notICMP, source = {}, destination = {} } = rule;
    return (
      ipVersion !== 6 &&
      (rule.protocol === undefined || protocolIs(rule.protocol)) &&
      !(notProtocol !== undefined && protocolIs(notProtocol)) &&
      (!icmp || icmpIs(icmp)) &&
      !(notICMP && icmpIs(notICMP)) &&
      (!destination.ports?.length || destination.ports.some(portIs)) &&
      !destination.notPorts?.some(portIs) &&
      endIs(source, from, namespace) &&
      endIs(destination, to, namespace)
    );
  };
  const direction = (way: 'ingress' | 'egress', own: string): boolean => {
    const pod = podAt(own);
    if (!pod) return true;
    const word = way === 'ingress' ? 'Ingress' : 'Egress';
    const { namespace: ofPod } = pod.metadata;
    const { labels: self } = endpoints[world.pods.indexOf(pod)] ?? assert.fail();
    const calico = world.policies.flatMap(({ metadata, spec }) => {
      const { namespace } = metadata;
      const types = spec.types?.length
        ? spec.types
        : [
            ...(spec.ingress?.length || !spec.egress?.length ? ['Ingress'] : []),
            ...(spec.egress?.length ? ['Egress'] : []),
          ];
      const about = [
        ...conditionsOf(spec.selector),
        ...(namespace ? [] : namespaceConditions(spec.namespaceSelector)),
        ...conditionsOf(spec.serviceAccountSelector, 'pcsa.'),
      ];
      if (!types.includes(word) || (namespace && namespace !== ofPod) || !about.every((each) => each(self)))
        return [];
      const rules = (spec[way] ?? []).map((rule) => ({ action: rule.action, is: ruleIs(rule, namespace) }));
      return [{ tier: spec.tier ?? 'default', order: spec.order ?? Infinity, name: metadata.name, rules }];
    });
    // Each of these either allows everything or nothing.
    const kubernetes = world.kubernetes
      .filter(({ metadata, spec }) => metadata.namespace === ofPod && spec.policyTypes.includes(word))
      .map(({ metadata, spec }) => ({
        tier: 'default',
        order: 1000,
        name: `knp.default.${metadata.name}`,
        rules: spec[way].map(() => ({ action: 'Allow' as const, is: true })),
      }));
    const tiers = [
      ...world.tiers.map(({ metadata, spec }) => ({
        name: metadata.name,
        order: spec.order ?? Infinity,
        isDenying: spec.defaultAction !== 'Pass',
      })),
      { name: 'default', order: 1_000_000, isDenying: true },
    ].sort((a, b) => (a.order === b.order ? (a.name < b.name ? -1 : 1) : a.order - b.order));
    next: for (const { name, isDenying } of tiers) {
      const policies = [...calico, ...kubernetes]
        .filter(({ tier }) => tier === name)
        .sort((a, b) => (a.order === b.order ? (a.name < b.name ? -1 : 1) : a.order - b.order));
      for (const { action, is } of policies.flatMap(({ rules }) => rules)) {
        if (!is || action === 'Log') continue;
        if (action === 'Pass') continue next;
        return action === 'Allow';
      }
      if (policies.length > 0 && isDenying) return false;
    }
    return true;
  };
  return direction('egress', from) && direction('ingress', to);
}

const V3 = 'projectcalico.org/v3';
const labels = fc.dictionary(fc.constantFrom('a', 'b'), fc.constantFrom('x', 'y'), { maxKeys: 2 });
const selector = fc.constantFrom(...Object.keys(SELECTORS));
const namespace = fc.constantFrom('n1', 'n2');
const account = fc.constantFrom('s1', 's2');
const net = fc.constantFrom('0.0.0.0/0', '10.0.0.0/30', '10.0.0.2', '192.0.2.0/24', '192.0.2.128/25');
const nets = fc.uniqueArray(net, { maxLength: 2 });
const ports = fc.array(fc.constantFrom<number | string>(80, '79:81', 'http'), { maxLength: 2 });
const ends = {
  nets,
  notNets: nets,
  selector,
  notSelector: selector,
  namespaceSelector: fc.oneof(selector, fc.constant('global()')),
  serviceAccounts: fc.record({ names: fc.array(account, { maxLength: 1 }), selector }, { requiredKeys: [] }),
};
/** Of these, few at a time: or hardly a rule matches anything. */
const sparse = <T extends object>(fields: { [K in keyof T]: fc.Arbitrary<T[K]> }): fc.Arbitrary<Partial<T>> =>
  fc
    .tuple(fc.record(fields), fc.subarray(Object.keys(fields), { maxLength: 2 }))
    .map(([all, kept]) => Object.fromEntries(kept.map((key) => [key, all[key as keyof T]])) as Partial<T>);
const entity = sparse(ends) as fc.Arbitrary<RawEntity>;
const icmp = fc.record(
  { type: fc.constantFrom(0, 8), code: fc.constantFrom(0, 3) },
  { requiredKeys: ['type'] },
);
const traffic = fc.oneof(
  { weight: 3, arbitrary: fc.constant({}) },
  fc.record({ protocol: fc.constantFrom<string | number>('TCP', 'UDP', 6) }),
  fc.record({ notProtocol: fc.constantFrom<string | number>('TCP', 17) }),
  fc.record({ ipVersion: fc.constantFrom(4, 6) }),
  fc.record({ protocol: fc.constant('ICMP'), icmp }),
  fc.record({ protocol: fc.constant('ICMP'), notICMP: icmp }),
);
const plainRule = fc.record({ source: entity, destination: entity }, { requiredKeys: [] });
const portRule = fc.record({
  protocol: fc.constantFrom('TCP', 'UDP'),
  source: entity,
  destination: fc
    .tuple(entity, fc.record({ ports, notPorts: ports }, { requiredKeys: [] }))
    .map(([a, b]) => ({ ...a, ...b })),
});
const rules = fc.array(
  fc
    .tuple(
      fc.constantFrom('Allow', 'Deny', 'Log', 'Pass'),
      fc.oneof(
        fc.tuple(plainRule, traffic).map(([a, b]) => ({ ...a, ...b })),
        portRule,
      ),
    )
    .map(([action, rule]) => ({ action, ...rule }) as RawRule),
  { maxLength: 3 },
);
const spec = {
  tier: fc.constantFrom('default', 'early', 'late'),
  order: fc.constantFrom(1, 1000, 2000.5),
  selector,
  serviceAccountSelector: selector,
  types: fc.subarray(['Ingress', 'Egress']),
  ingress: rules,
  egress: rules,
};
const policies = fc.array(
  fc.oneof(
    fc
      .tuple(namespace, fc.record(spec, { requiredKeys: [] }))
      .map(([of, each]) => ({ kind: 'NetworkPolicy', of, each })),
    fc
      .record({ ...spec, namespaceSelector: selector }, { requiredKeys: [] })
      .map((each) => ({ kind: 'GlobalNetworkPolicy', of: undefined, each })),
  ),
  { maxLength: 4 },
);

const world: fc.Arbitrary<World> = fc.record({
  pods: fc
    .array(fc.record({ namespace, labels, account, port: fc.constantFrom(80, 8080) }), {
      minLength: 1,
      maxLength: 4,
    })
    .map((all) =>
      all.map(({ namespace: of, labels: own, account: serviceAccountName, port }, i) => ({
        kind: 'Pod' as const,
        metadata: { name: `p${i}`, namespace: of, labels: own },
        spec: { serviceAccountName, containers: [{ ports: [{ name: 'http', containerPort: port }] }] },
        status: { podIP: `10.0.0.${i + 1}` },
      })),
    ),
  namespaces: fc
    .tuple(labels, labels)
    .map((both) =>
      both.map((own, i) => ({ kind: 'Namespace', metadata: { name: `n${i + 1}`, labels: own } })),
    ),
  accounts: fc
    .uniqueArray(fc.record({ name: account, namespace, labels }), {
      maxLength: 2,
      selector: ({ name, namespace: of }) => `${of}/${name}`,
    })
    .map((all) => all.map((metadata) => ({ kind: 'ServiceAccount', metadata }))),
  sets: fc
    .array(fc.record({ of: fc.option(namespace, { nil: undefined }), labels, nets }), { maxLength: 2 })
    .map((all) =>
      all.map(({ of, labels: own, nets: their }, i) => ({
        apiVersion: V3,
        kind: of ? 'NetworkSet' : 'GlobalNetworkSet',
        metadata: { name: `set${i}`, labels: own, ...(of && { namespace: of }) },
        spec: { nets: their },
      })),
    ),
  tiers: fc
    .tuple(
      fc.record(
        { order: fc.constantFrom(10, 1000), defaultAction: fc.constantFrom('Deny', 'Pass') },
        { requiredKeys: [] },
      ),
      fc.record({ defaultAction: fc.constantFrom('Deny', 'Pass') }, { requiredKeys: [] }),
    )
    .map((both) =>
      both.map((each, i) => ({
        apiVersion: V3,
        kind: 'Tier' as const,
        metadata: { name: i === 0 ? 'early' : 'late' },
        spec: each,
      })),
    ),
  policies: policies.map((all) =>
    all.map(({ kind, of, each }, i) => ({
      apiVersion: i % 2 === 0 ? V3 : 'crd.projectcalico.org/v1',
      kind,
      metadata: { name: `${i % 2 === 0 ? 'z' : 'a'}${i}`, ...(of && { namespace: of }) },
      spec: each as RawPolicy['spec'],
    })),
  ),
  kubernetes: fc
    .array(
      fc.record({
        of: namespace,
        policyTypes: fc.subarray(['Ingress', 'Egress'], { minLength: 1 }),
        all: fc.boolean(),
      }),
      { maxLength: 2 },
    )
    .map((list) =>
      list.map(({ of, policyTypes, all }, i) => ({
        apiVersion: 'networking.k8s.io/v1',
        kind: 'NetworkPolicy' as const,
        metadata: { name: `kubernetes${i}`, namespace: of },
        spec: { podSelector: {}, policyTypes, ingress: all ? [{}] : [], egress: all ? [{}] : [] },
      })),
    ),
});

test('Calico’s policies, and their tables, mean what Calico says they mean', () => {
  const address = fc.constantFrom('10.0.0.1', '10.0.0.2', '10.0.0.3', '10.0.0.9', '192.0.2.1', '192.0.2.200');
  const connection = fc.record({
    from: address,
    to: address,
    protocol: fc.constantFrom('TCP', 'UDP', 'SCTP', 'ICMP'),
    port: fc.constantFrom(78, 79, 80, 8080),
    type: fc.constantFrom(0, 8, 13),
  });
  const seen = { allowed: 0, denied: 0 };
  fc.assert(
    fc.property(world, fc.array(connection, { minLength: 5, maxLength: 20 }), (all, connections) => {
      const { tiers, entities, problems } = readCluster(
        Object.values(all)
          .flat()
          .map((value) => ({ value, where: '' })),
      );
      assert.deepEqual(problems, []);
      const pods = entities.filter((each): each is PodEntity => each.kind === 'pod');
      const end = (text: string) => {
        const ip = parseIp(text);
        const pod = pods.find(({ addresses }) => addresses.includes(ip));
        return { ip, ...(pod && { pod }) };
      };
      const compiled = compilePolicies({
        tiers,
        entities,
        names: new Map(),
        subjects: pods.map((pod) => ({ pod, nets: [] })),
        subnets: [],
        families: [4],
        devices: 'flt',
        bridge: 'cni0',
      });
      for (const each of connections) {
        const { from, to, protocol, port, type } = each;
        const flow = {
          family: 4 as const,
          protocol: protocolNamed(protocol) ?? 0,
          ...(protocol === 'ICMP' ? { icmp: { type, code: 0 } } : { port }),
        };
        const { verdict } = explain({ tiers, entities, names: new Map() }, end(from), end(to), flow);
        const packet = { source: parseIp(from), destination: parseIp(to), flow };
        assert.equal(walk(compiled, packet), verdict === 'allowed' ? 'accept' : 'drop');
        seen[verdict]++;
        assert.equal(
          verdict,
          isAllowed(all, protocol === 'ICMP' ? { ...each, port: -1 } : { ...each, type: -1 })
            ? 'allowed'
            : 'denied',
          JSON.stringify(each),
        );
      }
    }),
    { numRuns: 500 },
  );
  assert.ok(Math.min(seen.allowed, seen.denied) > 200, JSON.stringify(seen));
});

test('what a rule selects is of the policy’s namespace, unless it says which', () => {
  const pod = (of: string, podIP: string) => ({
    kind: 'Pod',
    metadata: { name: 'p', namespace: of, labels: { a: 'x' } },
    status: { podIP },
  });
  const set = (kind: string, net: string) => ({
    apiVersion: V3,
    kind,
    metadata: { name: 's', namespace: 'n1', labels: { a: 'x' } },
    spec: { nets: [net] },
  });
  const world = [
    pod('n1', '10.0.0.1'),
    pod('n2', '10.0.0.2'),
    set('NetworkSet', '192.0.2.1'),
    set('GlobalNetworkSet', '192.0.2.2'),
  ];
  const from = (kind: string, source: object): string[] => {
    const metadata = { name: 'x', namespace: 'n1' };
    const spec = { selector: "projectcalico.org/name == 'x'", ingress: [{ action: 'Allow', source }] };
    const about = { kind: 'Pod', metadata: { ...metadata, labels: { 'projectcalico.org/name': 'x' } } };
    const policy = { apiVersion: V3, kind, metadata, spec };
    const cluster = readCluster([...world, about, policy].map((value) => ({ value, where: '' })));
    const subject = cluster.entities.find((each) => each.kind === 'pod' && each.name === 'x') as PodEntity;
    const [own = assert.fail()] = subject.addresses;
    return ['10.0.0.1', '10.0.0.2', '192.0.2.1', '192.0.2.2', '192.0.2.3'].filter((ip) => {
      const flow = { family: 4 as const, protocol: 6, port: 80 };
      const known = { ...cluster, names: new Map() };
      return explain(known, { ip: parseIp(ip) }, { ip: own, pod: subject }, flow).verdict === 'allowed';
    });
  };
  const ownOnes = ['10.0.0.1', '192.0.2.1'];
  const namespaced = [...ownOnes, '10.0.0.2'].sort();
  const all = [...namespaced, '192.0.2.2'].sort();
  for (const [kind, source, expected] of [
    ['NetworkPolicy', { selector: 'has(a)' }, ownOnes],
    ['NetworkPolicy', { notSelector: 'has(b)' }, ownOnes],
    ['NetworkPolicy', { serviceAccounts: { names: ['default'] } }, ['10.0.0.1']],
    ['NetworkPolicy', { selector: 'has(a)', namespaceSelector: 'all()' }, namespaced],
    ['NetworkPolicy', { namespaceSelector: 'global()' }, ['192.0.2.2']],
    ['NetworkPolicy', { notNets: ['10.0.0.2', '192.0.2.2/31'] }, ownOnes],
    ['GlobalNetworkPolicy', { selector: 'has(a)' }, all],
    ['GlobalNetworkPolicy', { selector: 'has(a)', namespaceSelector: 'all()' }, namespaced],
    ['GlobalNetworkPolicy', { namespaceSelector: "projectcalico.org/name == 'n1'" }, ownOnes],
    ['GlobalNetworkPolicy', { notSelector: 'has(a)' }, ['192.0.2.3']],
  ] as const)
    assert.deepEqual(from(kind, source), expected, `${kind} ${JSON.stringify(source)}`);
});

test('what flatnet lacks, or cannot read, is named and closes its own pods alone', () => {
  const rule = (part: object): object => ({ ingress: [{ action: 'Allow', ...part }] });
  const source = (part: object): object => rule({ source: part });
  const to = (part: object, protocol: unknown = 'TCP'): object => rule({ protocol, destination: part });
  const cases: readonly [object, RegExp][] = [
    [{ order: '1' }, /spec\.order: must be a number, not "1"/],
    [{ selector: 'a = b' }, /spec\.selector: expected .* at position 3/],
    [{ selector: 'global()' }, /spec\.selector: global\(\) is for the namespaceSelector of a rule/],
    [{ namespaceSelector: 'global()' }, /spec\.namespaceSelector: global\(\) is for/],
    [{ types: ['ingress'] }, /spec\.types\[0\]: must be Ingress or Egress, not 'ingress'/],
    [{ tier: 'middle' }, /spec\.tier: the Tier middle is not there; add it/],
    [{ tier: 'broken' }, /spec\.tier: the Tier broken cannot be read/],
    [{ doNotTrack: true }, /spec\.doNotTrack: true is not supported: it is for host endpoints/],
    [{ preDNAT: true }, /spec\.preDNAT: true is not supported/],
    [{ applyOnForward: true }, /spec\.applyOnForward: true is not supported/],
    [{ podSelector: {} }, /spec\.podSelector: is not a known field/],
    [rule({ action: 'allow' }), /ingress\[0\]\.action: must be Allow or Deny or Log or Pass, not 'allow'/],
    [rule({ http: { methods: ['GET'] } }), /ingress\[0\]\.http: .* is not supported: .* proxy/],
    [rule({ ipVersion: 5 }), /ipVersion: must be 4 or 6/],
    [rule({ ipVersion: 6, protocol: 'ICMP' }), /ipVersion: must be 4 with this protocol/],
    [rule({ protocol: 'TPC' }), /protocol: must be TCP, UDP, ICMP/],
    [rule({ protocol: 256 }), /protocol: must be a whole number from 1 to 255/],
    [rule({ protocol: 'TCP', icmp: { type: 8 } }), /ingress\[0\]\.icmp: needs protocol ICMP or ICMPv6/],
    [rule({ protocol: 'ICMP', notICMP: { code: 0 } }), /notICMP\.code: needs type/],
    [source({ ports: [80] }), /source\.ports: \[80\] is not supported: .* write destination\.ports/],
    [source({ notPorts: ['dns'] }), /source\.notPorts: \["dns"\] is not supported/],
    [source({ services: { name: 'web' } }), /source\.services: .* write the selector of the service’s pods/],
    [source({ domains: ['example.org'] }), /source\.domains: .* ClusterNetworkPolicy with domainNames/],
    [source({ nets: ['10.0.0.0/33'] }), /source\.nets\[0\]/],
    [source({ namespaceSelector: 'global() || has(a)' }), /namespaceSelector: global\(\) is for .* alone/],
    [source({ serviceAccounts: { name: 'a' } }), /serviceAccounts\.name: is not a known field/],
    [to({ ports: ['90:80'] }), /destination\.ports\[0\]: must be a port from 0 to 65535/],
    [to({ ports: ['80-90'] }), /destination\.ports\[0\]: must be a port/],
    [to({ ports: [80] }, null), /destination\.ports: needs a protocol that has ports/],
    [to({ notPorts: [80] }, 'ICMP'), /destination\.notPorts: needs a protocol that has ports/],
  ];
  for (const [part, expected] of cases) {
    const { tiers, problems } = collectPolicies([
      { kind: 'Tier', name: 'broken', spec: { defaultAction: 'Allow' } },
      {
        kind: 'GlobalNetworkPolicy',
        name: 'broken',
        spec: { order: 5, serviceAccountSelector: 'has(a)', ...part },
      },
      { kind: 'GlobalNetworkPolicy', name: 'sound', spec: { ingress: [{ action: 'Allow' }] } },
    ]);
    const [tier, { problem = '', policy, closes } = {}, ...others] = problems;
    assert.equal(tier?.problem, "spec.defaultAction: must be Deny or Pass, not 'Allow'");
    assert.match(problem, expected);
    assert.deepEqual([policy, closes, others], [{ kind: 'GlobalNetworkPolicy', name: 'broken' }, true, []]);
    // Wherever its tier is, it is before what allows.
    const [broken, sound] = tiers.flatMap(({ policies }) => policies);
    assert.deepEqual(
      [broken?.ingress, broken?.egress].map((rules) => rules?.map(({ action }) => action)),
      [['deny'], ['deny']],
    );
    assert.deepEqual([broken?.name, sound?.name, sound?.ingress?.length], ['broken', 'sound', 1]);
  }
});

test('a network set that cannot be read, a host endpoint, and a kind without its group are refused', () => {
  const read = (object: object) =>
    readCluster([{ value: { metadata: { name: 'x' }, ...object }, where: '' }]);
  assert.throws(
    () => read({ apiVersion: V3, kind: 'GlobalNetworkSet', spec: { nets: ['10.0.0.0/8', 'ten'] } }),
    /GlobalNetworkSet x spec\.nets\[1\]/,
  );
  assert.throws(() => read({ apiVersion: V3, kind: 'HostEndpoint' }), /HostEndpoint is not supported/);
  assert.throws(() => read({ kind: 'GlobalNetworkPolicy' }), /apiVersion: of GlobalNetworkPolicy is missing/);
  // Neither Calico’s Node nor another project’s Tier is what it seems.
  assert.deepEqual(read({ apiVersion: V3, kind: 'Node' }).entities, []);
  assert.deepEqual(read({ apiVersion: 'crd.antrea.io/v1beta1', kind: 'Tier', spec: 1 }).problems, []);
});
