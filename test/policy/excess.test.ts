import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { parseIp } from '../../src/ip/address.ts';
import { nthIp, parseCidr } from '../../src/ip/cidr.ts';
import { collectPolicies, type Written } from '../../src/policy/collect.ts';
import { compilePolicies } from '../../src/policy/compile/compile.ts';
import type { Most } from '../../src/policy/compile/excess.ts';
import type { PolicyFacts } from '../../src/policy/compile/facts.ts';
import { Memory } from '../../src/policy/compile/memory.ts';
import { MOST_REQUIREMENTS } from '../../src/policy/limits.ts';
import type { PodEntity } from '../../src/policy/model/entity.ts';
import { DIRECTIONS, type Tier } from '../../src/policy/model/policy.ts';
import { TCP } from '../../src/policy/model/traffic.ts';
import { ADDRESSES, facts, flow, outcome } from './arbitrary.ts';
import { walk, walker } from './compiled.ts';

const CLUSTER = parseCidr('10.0.0.0/16');

/** Policies of several namespaces, and of none. */
function scattered(tiers: readonly Tier[]): readonly Tier[] {
  const namespaces = [undefined, 'a', 'b'];
  return tiers.map((tier) => ({
    ...tier,
    policies: tier.policies.map((policy, i) => {
      const namespace = namespaces[i % 3];
      return { ...policy, ...(namespace !== undefined && { namespace }) };
    }),
  }));
}

for (const family of [4, 6] as const) {
  const address = fc.constantFrom(...ADDRESSES[family].map(parseIp));
  const most = fc.record<Most>({
    steps: fc.integer({ min: 0, max: 60 }),
    elements: fc.integer({ min: 0, max: 30 }),
    kinds: fc.integer({ min: 0, max: 5 }),
    groups: fc.integer({ min: 1, max: 20 }),
  });
  test(`IPv${family}: the tables decide as the policies in force do, where others are too much`, () => {
    const packets = fc.array(fc.tuple(address, address, flow(family)), { minLength: 1, maxLength: 30 });
    let [refusals, kept] = [0, 0];
    fc.assert(
      fc.property(facts(family), packets, most, (found, each, few) => {
        const all = { ...found, tiers: scattered(found.tiers) };
        const memory = new Memory();
        const compiled = compilePolicies(all, memory, undefined, few);
        const { tiers, refused, verdicts: _, ...again } = compilePolicies(all, memory, undefined, few);
        assert.deepEqual(again.directory, compiled.directory);
        const scopes = new Set(refused.map(({ scope }) => scope));
        assert.equal(scopes.size, refused.length);
        for (const policy of tiers.flatMap(({ policies }) => policies)) {
          assert.equal(policy.isUnreadable === true, scopes.has(policy.namespace) && !policy.staged);
          if (!policy.isUnreadable) continue;
          for (const direction of DIRECTIONS)
            for (const rule of policy[direction] ?? []) assert.equal(rule.action, 'deny');
        }
        if (refused.length > 0) refusals++;
        else kept++;
        const inForce: PolicyFacts = { ...all, tiers };
        const walked = walker(compiled);
        for (const [source, destination, what] of each)
          assert.deepEqual(
            walked({ source, destination, flow: what }),
            outcome(inForce, source, destination, what),
            `${source} to ${destination}: ${JSON.stringify(what)}`,
          );
      }),
      { numRuns: 100 },
    );
    assert.ok(refusals > 20 && kept > 20, `${refusals} refused, ${kept} kept`);
  });
}

const times = <T>(n: number, of: (i: number) => T): readonly T[] =>
  Array.from({ length: n }, (_, i) => of(i));
const address = (i: number): string => `${nthIp(parseCidr('100.64.0.0/10'), 2 * i)}/32`;
const pod = (i: number, namespace: string): PodEntity => ({
  kind: 'pod',
  namespace,
  name: `pod${i}`,
  labels: { name: `pod${i}` },
  namespaceLabels: {},
  serviceAccount: 'default',
  serviceAccountLabels: {},
  ports: [],
  addresses: [nthIp(CLUSTER, i + 1)],
});
const policy = (namespace: string, ingress: readonly object[], name = 'a'): Written => ({
  kind: 'NetworkPolicy',
  namespace,
  name,
  spec: { podSelector: {}, ingress },
});
const except = (i: number): object => ({
  from: [{ ipBlock: { cidr: '100.0.0.0/8', except: [address(i)] } }],
  ports: [{ port: 1 + i }],
});
/** About everyone but a pod. */
const notPod = (i: number): object => {
  const podSelector = { matchExpressions: [{ key: 'name', operator: 'NotIn', values: [`pod${i}`] }] };
  return { from: [{ namespaceSelector: {}, podSelector }], ports: [{ port: 1 + i }] };
};
const MODEST = policy('modest', [
  { ports: [{ port: 443 }] },
  { from: [{ ipBlock: { cidr: '0.0.0.0/0' } }], ports: [{ port: 80 }] },
]);

/** Smaller than the real ones, which take their time. */
const SMALL: Most = { steps: 500_000, elements: 100_000, kinds: 1000, groups: 3000 };

function compiled(written: readonly Written[], entities: readonly PodEntity[]) {
  const { tiers, problems } = collectPolicies(written);
  const own = entities.slice(0, 20);
  const all: PolicyFacts = {
    entities,
    tiers,
    names: new Map(),
    subjects: own.map((each) => ({ pod: each, nets: [] })),
    subnets: [],
    families: [4],
    devices: 'flt',
    bridge: 'cni0',
  };
  return { problems, ...compilePolicies(all, undefined, undefined, SMALL) };
}

/** Of whom somebody far away may open which port of pod 0, which is of the modest namespace, and of pod 1. */
function isOpen(of: ReturnType<typeof compiled>, number: 0 | 1, port: number): boolean {
  const [source, destination] = [parseIp('192.0.2.1'), nthIp(CLUSTER, number + 1)];
  return walk(of, { source, destination, flow: { family: 4, protocol: TCP, port } }) === 'accept';
}

test('what a namespace’s policies would make too much of for a node closes its pods, and no others', () => {
  const entities = times(600, (i) => pod(i, i === 0 ? 'modest' : 'greedy'));
  const kinds = [
    policy(
      'greedy',
      times(1500, (i) => ({ from: [{ ipBlock: { cidr: address(i) } }], ports: [{ port: 1 + i }] })),
    ),
  ];
  const elements = [policy('greedy', times(400, notPod))];
  const everyone = policy('greedy', [{ ports: [{ port: 8443 }] }], 'everyone');
  for (const [written, problem] of [
    [kinds, `the other ends that its rules tell apart are more than ${SMALL.kinds}`],
    [elements, `the elements that say it to the kernel are more than ${SMALL.elements}`],
  ] as const) {
    const found = compiled([...written, everyone, MODEST], entities);
    assert.deepEqual(found.problems, []);
    assert.deepEqual(
      found.refused.map(({ scope, message }) => ({ scope, message })),
      [{ scope: 'greedy', message: problem }],
    );
    assert.deepEqual(
      [isOpen(found, 0, 443), isOpen(found, 0, 80), isOpen(found, 0, 22)],
      [true, true, false],
    );
    assert.equal(isOpen(found, 1, 8443), false);
    const elementCount = [...found.pods.values()].reduce((sum, { items }) => sum + items.length, 0);
    assert.ok(elementCount + found.directory.length < 1000, `${elementCount}`);
  }
});

test('nobody answers for what others tell apart', () => {
  const entities = times(600, (i) => pod(i, i === 0 ? 'modest' : 'eager'));
  const eager = policy(
    'eager',
    times(900, (i) => ({ from: [{ ipBlock: { cidr: address(i) } }], ports: [{ port: 1 + i }] })),
  );
  const wide = policy(
    'modest',
    times(200, (i) => ({ from: [{ ipBlock: { cidr: '0.0.0.0/0' } }], ports: [{ port: 1 + 2 * i }] })),
  );
  const found = compiled([eager, wide], [...entities.slice(0, 2), ...entities.slice(30)]);
  assert.deepEqual([found.problems, found.refused], [[], []]);
});

test('of a namespace’s policies that are too much together, those are closed that come last by name', () => {
  const large = (name: string): Written => policy('greedy', times(400, except), name);
  const logging = (namespace: string): Written => ({
    kind: 'Calico NetworkPolicy',
    namespace,
    name: 'log',
    spec: { selector: 'all()', ingress: times(501, () => ({ action: 'Log' })) },
  });
  const selecting = policy(
    'picky',
    times(MOST_REQUIREMENTS + 1, (i) => ({ from: [{ podSelector: { matchLabels: { name: `pod${i}` } } }] })),
  );
  const { tiers, problems } = collectPolicies([
    large('c'),
    large('a'),
    large('b'),
    MODEST,
    logging('chatty'),
    selecting,
  ]);
  assert.deepEqual(
    problems.map(({ policy: { namespace, name }, closes }) => `${namespace}/${name} ${closes}`).sort(),
    ['chatty/log true', 'greedy/b true', 'greedy/c true', 'picky/a true'],
  );
  for (const { problem } of problems)
    assert.match(problem, /its rules for ingress, with those of the policies before it by name,/);
  const isClosed = tiers.flatMap(({ policies }) => policies.filter(({ isUnreadable }) => isUnreadable));
  assert.equal(isClosed.length, 4);
});

test('five thousand networks side by side, with or without a rule each, are not too much', () => {
  const blocks = times(5000, (i) => ({ ipBlock: { cidr: address(i) } }));
  const ports = [{ port: 443 }];
  for (const rules of [[{ from: blocks, ports }], blocks.map((each) => ({ from: [each], ports }))]) {
    const found = compiled([policy('modest', rules)], [pod(0, 'modest')]);
    assert.deepEqual([found.problems, found.refused], [[], []]);
  }
});

test('a node’s pods that cluster-wide policies are about, too, cost the cluster’s nothing', () => {
  const entities = times(600, (i) => pod(i, 'greedy'));
  const everywhere: Written = {
    kind: 'GlobalNetworkPolicy',
    name: 'everywhere',
    spec: {
      selector: 'all()',
      ingress: times(100, (i) => ({ action: 'Allow', protocol: 'TCP', destination: { ports: [1 + i] } })),
    },
  };
  const found = compiled([everywhere, policy('greedy', times(400, notPod))], entities);
  assert.deepEqual(
    found.refused.map(({ scope }) => scope),
    ['greedy'],
  );
});

test('elements are counted as often as they are laid out', () => {
  const entities = times(20, (i) => pod(i, 'wide'));
  const written = [
    policy('wide', [{ ports: times(100, (i) => ({ port: 1 + 2 * i })) }]),
    policy(
      'wide',
      times(200, (i) => ({ from: [{ ipBlock: { cidr: address(i) } }], ports: [{ port: 2000 + 2 * i }] })),
      'b',
    ),
  ];
  const { refused } = compiled(written, entities);
  assert.match(refused[0]?.message ?? '', /^the elements/);
});

test('kinds that two namespaces tell apart crosswise are bounded together', () => {
  const entities = times(20, (i) => pod(i, i % 2 ? 'a' : 'b'));
  const crossing = (namespace: string, of: (i: number) => string): Written =>
    policy(
      namespace,
      times(64, (i) => ({ from: [{ ipBlock: { cidr: of(i) } }], ports: [{ port: 1 + i }] })),
    );
  const rows = crossing('a', (i) => `100.${64 + i}.0.0/16`);
  const columns = Array.from({ length: 64 }, (_, i) =>
    times(64, (j) => ({ ipBlock: { cidr: `100.${64 + j}.${i}.0/24` } })),
  );
  const grid = policy(
    'b',
    columns.map((from, i) => ({ from, ports: [{ port: 1 + i }] })),
  );
  const { refused, tables } = compiled([rows, grid], entities);
  assert.deepEqual(
    [refused.length, refused[0]?.message.startsWith('the other ends that all rules')],
    [1, true],
  );
  assert.ok(tables.every(({ chains }) => chains.length < 1000));
});

test('very many rules about one network are no more than that', () => {
  const written = Array.from({ length: 13 }, (_, i): Written => {
    const ingress = times(10_000, (j) => {
      const n = i * 10_000 + j;
      const unique = `100.64.${(n >> 8) & 255}.${n & 255}/32`;
      return { action: 'Allow', source: { nets: ['10.0.0.0/8', unique] } };
    });
    return {
      kind: 'Calico NetworkPolicy',
      namespace: 'a',
      name: `p${i}`,
      spec: { selector: 'all()', ingress },
    };
  });
  assert.doesNotThrow(() => compiled(written, [pod(0, 'a')]));
});
