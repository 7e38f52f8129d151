import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { parseIp } from '../../src/ip/address.ts';
import { parseCidr } from '../../src/ip/cidr.ts';
import { type Compiled, compilePolicies } from '../../src/policy/compile/compile.ts';
import type { PolicyFacts } from '../../src/policy/compile/facts.ts';
import { Memory } from '../../src/policy/compile/memory.ts';
import type { PodEntity } from '../../src/policy/model/entity.ts';
import { netMatcher } from '../../src/policy/model/matcher.ts';
import type { Policy, Rule, Tier } from '../../src/policy/model/policy.ts';
import { type Flow, ICMP, type Ports, SCTP, TCP, UDP } from '../../src/policy/model/traffic.ts';
import { ADDRESSES, facts, flow, outcome, outcomeAtNode, verdict } from './arbitrary.ts';
import { walk, walked, walker } from './compiled.ts';

for (const family of [4, 6] as const) {
  const address = fc.constantFrom(...ADDRESSES[family].map(parseIp));
  test(`IPv${family}: the tables decide every connection as the rules do, and log what these ask for`, () => {
    const packets = fc.array(fc.tuple(address, address, flow(family)), { minLength: 1, maxLength: 30 });
    fc.assert(
      fc.property(facts(family), packets, (all, each) => {
        for (const mostApart of [undefined, 1]) {
          const walked = walker(compilePolicies(all, new Memory(), mostApart));
          for (const [source, destination, what] of each)
            assert.deepEqual(
              walked({ source, destination, flow: what }),
              outcome(all, source, destination, what),
              `${source} to ${destination}: ${JSON.stringify(what)}, ${mostApart} apart`,
            );
        }
      }),
      { numRuns: 500 },
    );
  });
}

test('a pod reaches its own node unless a rule denies it', () => {
  const address = fc.constantFrom(...['10.0.0.1', '10.0.0.2', '10.0.0.99', '192.0.2.1'].map(parseIp));
  const packets = fc.array(fc.tuple(address, address, flow(4)), { minLength: 1, maxLength: 30 });
  fc.assert(
    fc.property(facts(4), packets, (all, each) => {
      const compiled = compilePolicies(all, new Memory());
      for (const [source, destination, what] of each)
        assert.deepEqual(
          walked(compiled, { source, destination, flow: what }, 'input'),
          outcomeAtNode(all, source, destination, what),
          `${source} to ${destination}: ${JSON.stringify(what)}`,
        );
    }),
    { numRuns: 500 },
  );
});

test('ports without a protocol are those of all protocols that have some', () => {
  const http: Ports = { ranges: [], names: ['http'] };
  for (const traffic of [{ ports: http }, { notPorts: { ranges: [{ first: 0, last: 79 }], names: [] } }]) {
    const all = worldOf([{ name: 'r', action: 'deny', traffic: [traffic] }]);
    const compiled = compilePolicies(all, new Memory());
    for (const [protocol, port] of [
      [TCP, 80],
      [TCP, 79],
      [UDP, 80],
      [SCTP, 8080],
    ] as const) {
      const what = { family: 4 as const, protocol, port };
      const [source, destination] = [parseIp('192.0.2.1'), parseIp('10.0.0.1')];
      const expected = verdict(all, source, destination, what);
      assert.equal(
        walk(compiled, { source, destination, flow: what }),
        expected,
        JSON.stringify([traffic, what]),
      );
    }
  }
});

test('what a rule excepts from what it allows is denied', () => {
  const [source, destination] = [parseIp('192.0.2.1'), parseIp('10.0.0.1')];
  const ping = { type: 8, code: 0 };
  for (const [traffic, excepted] of [
    [{ notPorts: { ranges: [{ first: 22, last: 22 }], names: [] } }, { family: 4, protocol: TCP, port: 22 }],
    [{ notIcmp: { type: 8 } }, { family: 4, protocol: ICMP, icmp: ping }],
    [{ notProtocol: UDP }, { family: 4, protocol: UDP, port: 53 }],
  ] as const) {
    const all = worldOf([{ name: 'r', action: 'allow', traffic: [traffic] }], 'deny');
    const compiled = compilePolicies(all, new Memory());
    const decided = (flow: Flow) => walk(compiled, { source, destination, flow });
    const other = { family: 4, protocol: SCTP, port: 80 } as const;
    assert.deepEqual([decided(excepted), decided(other)], ['drop', 'accept'], JSON.stringify(traffic));
  }
});

test('policies of one name in two tiers are two', () => {
  const rule = (action: 'allow' | 'deny'): Rule => ({ name: 'r', action });
  const of = (pod: string, action: 'allow' | 'deny'): Policy => ({
    kind: 'Test',
    name: 'same',
    order: 0,
    subject: { text: pod, selects: ({ name }) => name === pod },
    ingress: [rule(action)],
  });
  const tier = (name: string, policy: Policy): Tier => ({
    name,
    order: 0,
    otherwise: 'pass',
    policies: [policy],
  });
  const [first, second] = [podOf('p1', '10.0.0.1'), podOf('p2', '10.0.0.2')];
  const all = {
    ...worldOf([]),
    entities: [first, second],
    tiers: [tier('a', of('p1', 'allow')), tier('b', of('p2', 'deny'))],
  };
  const compiled = compilePolicies(
    { ...all, subjects: [first, second].map((pod) => ({ pod, nets: [] })) },
    new Memory(),
  );
  const what = { family: 4 as const, protocol: TCP, port: 80 };
  const to = (destination: string) =>
    walk(compiled, { source: parseIp('192.0.2.1'), destination: parseIp(destination), flow: what });
  assert.deepEqual([to('10.0.0.1'), to('10.0.0.2')], ['accept', 'drop']);
});

test('networks that pods may send from: none lies in another, and none in one of a pod with policies', () => {
  const nets = (text: string) => text.split(' ').map(parseCidr);
  const all = worldOf([]);
  const [policed = assert.fail()] = all.subjects;
  const others = ['10.9.0.0/16 192.0.2.0/25', '192.0.2.0/24', '10.9.8.0/24', '198.51.100.0/24'];
  const subjects = others.map((text, i) => ({ pod: podOf(`o${i}`, `10.0.1.${i}`), nets: nets(text) }));
  const tiers = all.tiers.map((tier) => ({
    ...tier,
    policies: tier.policies.map((each) => ({
      ...each,
      subject: { text: 'p1', selects: ({ name }: PodEntity) => name === 'p1' },
    })),
  }));
  const facts = { ...all, tiers, subjects: [{ ...policed, nets: nets('10.9.8.0/25') }, ...subjects] };
  const { pods } = compilePolicies(facts, new Memory());
  const found = [...pods.values()].flatMap(({ items }) => items).filter(({ set }) => set === 'pod-nets');
  assert.deepEqual(found.map(({ key }) => key).sort(), ['192.0.2.0/24', '198.51.100.0/24']);
});

function podOf(name: string, address: string): PodEntity {
  return {
    kind: 'pod',
    namespace: 'default',
    name,
    labels: {},
    namespaceLabels: {},
    serviceAccount: 'default',
    serviceAccountLabels: {},
    ports: [{ name: 'http', protocol: TCP, port: 80 }],
    addresses: [parseIp(address)],
  };
}

/** One pod at 10.0.0.1 with these rules for what it receives. */
function worldOf(ingress: readonly Rule[], otherwise: Tier['otherwise'] = 'pass'): PolicyFacts {
  const pod = podOf('p1', '10.0.0.1');
  const subject = { text: 'all', selects: () => true };
  const policy: Policy = { kind: 'Test', name: 'p', order: 0, subject, ingress };
  return {
    entities: [pod],
    names: new Map(),
    tiers: [{ name: 't', order: 0, otherwise, policies: [policy] }],
    subjects: [{ pod, nets: [] }],
    subnets: [],
    families: [4],
    devices: 'cali',
    bridge: 'cni0',
  };
}

test('networks about which the rules say the same are one to the kernel, however many they are', () => {
  const net = (i: number) => parseCidr(`100.64.${i >> 8}.${i & 255}/32`);
  const nets = Array.from({ length: 2000 }, (_, i) => net(i));
  const rule = (name: string, own: readonly (typeof nets)[number][]): Rule => ({
    name,
    action: 'allow',
    peers: own.map((each) => ({ are: [netMatcher([each])], areNot: [] })),
  });
  const chainsOf = (compiled: Compiled) => compiled.tables[0]?.chains.length ?? 0;
  const one = compilePolicies(worldOf([rule('all', nets)]));
  const apart = worldOf(nets.slice(0, 20).map((each, i) => rule(`r${i}`, [each])));
  assert.ok(chainsOf(one) < 50, `${chainsOf(one)}`);
  assert.ok([...one.pods.values()].every(({ decided }) => decided.every(({ outcome }) => !outcome.isOneOf)));
  assert.equal(new Set(compilePolicies(apart).directory.map(({ data }) => data)).size, 20, 'each is counted');
  const many = compilePolicies(worldOf(nets.map((each, i) => rule(`r${i}`, [each]))));
  assert.ok(chainsOf(many) < 50, `${chainsOf(many)}`);
  assert.equal(new Set(many.directory.map(({ data }) => data)).size, 1);
  const shared = [...many.pods.values()].flatMap(({ decided }) => decided);
  assert.deepEqual(
    shared.map(({ outcome }) => outcome.isOneOf),
    [true],
  );
});

test('one network more is one element more', () => {
  const net = (i: number) => parseCidr(`100.64.${i >> 8}.${i & 255}/32`);
  const of = (count: number) =>
    compilePolicies(
      worldOf([
        {
          name: 'r',
          action: 'allow',
          peers: Array.from({ length: count }, (_, i) => ({ are: [netMatcher([net(2 * i)])], areNot: [] })),
        },
      ]),
    );
  const texts = ({ tables, directory, pods }: Compiled) => [
    ...tables.map((table) => JSON.stringify(table)),
    ...[...directory, ...[...pods.values()].flatMap(({ items }) => items)].map((each) =>
      JSON.stringify(each),
    ),
  ];
  const [before, after] = [new Set(texts(of(1000))), texts(of(1001))];
  assert.equal(after.filter((text) => !before.has(text)).length, 1);
  assert.equal(after.length, before.size + 1);
});

test('a rule more about pods that other rules are about already moves none of them', () => {
  const apps = ['a', 'b', 'c', 'd'].map((app, i) => ({
    ...podOf(`client-${app}`, `10.0.1.${i}`),
    labels: { app },
  }));
  const rule = (app: string, port: number): Rule => ({
    name: `${app} ${port}`,
    action: 'allow',
    peers: [{ are: [{ kind: 'pods', text: app, selects: ({ labels }) => labels.app === app }], areNot: [] }],
    traffic: [{ protocol: TCP, ports: { ranges: [{ first: port, last: port }], names: [] } }],
  });
  const rules = ['a', 'b', 'c', 'd'].map((app, i) => rule(app, 80 + i));
  const of = (...ingress: Rule[]) => {
    const all = worldOf(ingress);
    return compilePolicies({ ...all, entities: [...all.entities, ...apps] });
  };
  const [before, after] = [of(...rules), of(...rules, rule('a', 443))];
  assert.deepEqual(after.directory, before.directory);
  assert.deepEqual(after.tables, before.tables);
  const texts = ({ pods }: Compiled) =>
    [...pods.values()].flatMap(({ items }) => items.map((each) => JSON.stringify(each)));
  assert.equal(texts(after).filter((each) => !texts(before).includes(each)).length, 1);
});

test('single ports are found by a hash; only wide ranges need sets of ranges', () => {
  const of = (...ranges: (readonly [number, number])[]) => {
    const ports = { ranges: ranges.map(([first, last]) => ({ first, last })), names: [] };
    const compiled = compilePolicies(
      worldOf([{ name: 'r', action: 'allow', traffic: [{ protocol: TCP, ports }] }]),
    );
    const [table] = compiled.tables;
    const keys = [...compiled.pods.values()].flatMap(({ decided }) => decided.map(({ item }) => item.key));
    const isInterval = (table?.sets ?? []).some(({ interval, key }) => interval && key.length > 1);
    return [keys.map((key) => key.replace('10.0.0.1 . tcp . ', '')), isInterval];
  };
  assert.deepEqual(of([80, 80], [443, 443]), [['80', '443'], false]);
  assert.deepEqual(of([80, 80], [81, 81]), [['80', '81'], false]);
  assert.deepEqual(of([80, 80], [1000, 2000]), [['80', '1000-2000'], true]);
});
