import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseIp } from '../../src/ip/address.ts';
import { collectPolicies, type Written } from '../../src/policy/collect.ts';
import { explain } from '../../src/policy/explain/explain.ts';
import type { PodEntity } from '../../src/policy/model/entity.ts';
import { TCP } from '../../src/policy/model/traffic.ts';

const web: PodEntity = {
  kind: 'pod',
  namespace: 'shop',
  name: 'web',
  labels: {},
  namespaceLabels: {},
  serviceAccount: 'default',
  serviceAccountLabels: {},
  ports: [],
  addresses: [parseIp('10.0.0.1')],
};

/** What becomes of a connection to the pod, and what would if staged policies were enforced. */
function outcome(...all: readonly Written[]) {
  const { tiers, problems } = collectPolicies(all);
  assert.deepEqual(problems, []);
  const cluster = { tiers, entities: [web], names: new Map() };
  const flow = { family: 4 as const, protocol: TCP, port: 80 };
  const { ends } = explain(
    cluster,
    { ip: parseIp('192.0.2.1') },
    { ip: parseIp('10.0.0.1'), pod: web },
    flow,
  );
  return ends[0] ?? assert.fail('no end');
}

const allowing: Written = {
  kind: 'NetworkPolicy',
  namespace: 'shop',
  name: 'all',
  spec: { podSelector: {}, ingress: [{}] },
};
const isolating: Written = { ...allowing, name: 'none', spec: { podSelector: {} } };
const calico = (action: string, part: object = {}, name = 'calico'): Written => ({
  kind: 'GlobalNetworkPolicy',
  name,
  spec: { ingress: [{ action }], ...part },
});
const cluster = (tier: string, action: string): Written => ({
  kind: 'ClusterNetworkPolicy',
  name: 'cluster',
  spec: { tier, priority: 5, subject: { namespaces: {} }, ingress: [{ action, from: [{ namespaces: {} }] }] },
});

test('NetworkPolicies are in Calico’s tier default, with order 1000', () => {
  for (const [policies, expected] of [
    [[allowing, calico('Deny', { order: 999 })], 'denied'],
    [[allowing, calico('Deny', { order: 1001 })], 'allowed'],
    [[allowing, calico('Deny')], 'allowed'],
    // Of the same order, by name: the NetworkPolicy is knp.default.all.
    [[allowing, calico('Deny', { order: 1000 }, 'default.deny')], 'denied'],
    [[allowing, calico('Deny', { order: 1000 }, 'zero')], 'allowed'],
    // Isolation is the tier’s, and at its end: what allows may be of either kind.
    [[isolating, calico('Allow')], 'allowed'],
    [[isolating, calico('Log')], 'denied'],
    [[isolating, calico('Pass')], 'allowed'],
    [[isolating, calico('Allow', { types: ['Egress'] })], 'denied'],
    [[calico('Deny', { selector: "a == 'b'" })], 'allowed'],
  ] as const) {
    assert.equal(outcome(...policies).verdict, expected, JSON.stringify(policies));
  }
});

test('Calico’s tiers stand before, between and after those of ClusterNetworkPolicies by their order', () => {
  const tier = (spec: object): Written => ({ kind: 'Tier', name: 'own', spec });
  const own = (action: string): Written => calico(action, { tier: 'own' });
  assert.equal(outcome(tier({ order: 1 }), own('Allow'), isolating).verdict, 'allowed');
  assert.equal(outcome(tier({}), own('Allow'), isolating).verdict, 'denied', 'without an order, last');
  assert.equal(outcome(tier({ order: 1 }), own('Log'), allowing).verdict, 'denied', 'Deny is the default');
  const passing = tier({ order: 1, defaultAction: 'Pass' });
  assert.equal(outcome(passing, own('Log'), allowing).verdict, 'allowed');
  // A ClusterNetworkPolicy’s priority is an order among Calico’s policies in the same tier.
  const beside = (order: number): Written => calico('Deny', { tier: 'kube-admin', order });
  assert.equal(outcome(beside(4), allowing).verdict, 'denied');
  const all = [cluster('Baseline', 'Deny'), cluster('Admin', 'Pass'), own('Pass'), beside(4), beside(6)];
  const { tiers } = collectPolicies([
    allowing,
    tier({ order: 999 }),
    ...all.map((each, i) => ({ ...each, name: `p${i}` })),
  ]);
  assert.deepEqual(
    tiers.map(({ name, policies }) => [name, ...policies.map((each) => each.order)]),
    [
      ['own', Number.POSITIVE_INFINITY],
      ['kube-admin', 4, 5, 6],
      ['default', 1000],
      ['kube-baseline', 5],
    ],
  );
});

test('the tiers that are always there cannot be others', () => {
  const written = [{ kind: 'Tier', name: 'default', spec: { order: 5 } }, isolating, calico('Allow')];
  const { tiers, problems } = collectPolicies(written);
  assert.deepEqual(
    problems.map(({ problem, closes }) => [problem, closes]),
    [['spec.order: of the tier default must be 1000000', false]],
  );
  assert.deepEqual(
    tiers.map(({ order, policies }) => [order, policies.length]),
    [[1_000_000, 2]],
  );
});

test('staged policies decide nothing; explain says what would be if they did', () => {
  const staged = (kind: string, name: string, spec: object): Written => ({
    kind,
    name,
    spec,
    ...(kind !== 'StagedGlobalNetworkPolicy' && { namespace: 'shop' }),
  });
  const deny = { order: 1, ingress: [{ action: 'Deny' }] };
  const lock = outcome(allowing, staged('StagedGlobalNetworkPolicy', 'lock', deny));
  assert.deepEqual(
    [lock.verdict, lock.staged],
    ['allowed', { verdict: 'denied', because: 'StagedGlobalNetworkPolicy lock, ingress[0], denies it' }],
  );
  // It takes the place of its namesake, or removes it.
  const open = { ...calico('Allow', {}, 'x'), kind: 'Calico NetworkPolicy', namespace: 'shop' };
  const set = outcome(open, staged('StagedNetworkPolicy', 'x', { ingress: [{ action: 'Deny' }] }));
  assert.deepEqual([set.verdict, set.staged?.verdict], ['allowed', 'denied']);
  const remove = outcome(
    isolating,
    staged('StagedKubernetesNetworkPolicy', 'none', { stagedAction: 'Delete' }),
  );
  assert.deepEqual([remove.verdict, remove.staged?.verdict], ['denied', 'allowed']);
  const isolate = outcome(staged('StagedKubernetesNetworkPolicy', 'new', { podSelector: {} }));
  assert.deepEqual([isolate.verdict, isolate.staged?.verdict], ['allowed', 'denied']);
  // Nothing would change.
  for (const spec of [
    { ...deny, stagedAction: 'Learn' },
    { ...deny, selector: "a == 'b'" },
  ])
    assert.equal(outcome(allowing, staged('StagedGlobalNetworkPolicy', 'all', spec)).staged, undefined);

  const unreadable = staged('StagedNetworkPolicy', 'broken', { stagedAction: 'Apply' });
  const { tiers, problems } = collectPolicies([unreadable]);
  assert.deepEqual(
    problems.map(({ problem, closes }) => [problem, closes]),
    [["spec.stagedAction: must be Set or Delete or Learn or Ignore, not 'Apply'", false]],
  );
  assert.ok(tiers.every(({ policies }) => policies.every((policy) => policy.staged)));
});

test('of several objects with one name the last counts, as if they had been applied in turn', () => {
  assert.equal(outcome(isolating, { ...allowing, name: isolating.name }).verdict, 'allowed');
  assert.equal(outcome({ ...allowing, name: isolating.name }, isolating).verdict, 'denied');
});
