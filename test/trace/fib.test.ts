import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { BACKENDS } from '../../src/backends/registry.ts';
import { type Family, familyOf } from '../../src/ip/address.ts';
import { addressOf, nthIp } from '../../src/ip/cidr.ts';
import { Tracer } from '../../src/trace/fib.ts';
import { KINDS, kindOf, networkOf, nodesOf, type Plan, plans, selfOf, traced } from '../backends/cluster.ts';

function expectedHop(plan: Plan, from: number, to: number, family: Family): string | undefined {
  if (from === to) return 'local';
  const sameNetwork = from % plan.networks === to % plan.networks;
  return kindOf(plan).hop(plan.backend, sameNetwork, family);
}

function checkPair(tracer: Tracer, plan: Plan, from: number, to: number): void {
  for (const subnet of selfOf(plan, to).node.subnets) {
    const result = tracer.walk(`node${from}`, nthIp(subnet, 7));
    const expected = expectedHop(plan, from, to, familyOf(subnet));
    assert.equal(result.delivered, expected !== undefined, JSON.stringify(result));
    if (expected === undefined) continue;
    const kinds = result.hops.map((hop) => hop.kind);
    assert.deepEqual(kinds, expected === 'local' ? ['local'] : [expected, 'local']);
    assert.equal(
      result.hops[0]?.throughRouter ?? false,
      expected !== 'local' && from % plan.networks !== to % plan.networks,
    );
    assert.equal(result.hops.at(-1)?.node, `node${to}`);
    assert.equal(result.hops.at(-1)?.dev, networkOf(plan).wiring === 'bridge' ? 'cni0' : 'cali0');
  }
}

test('the generated clusters cover every backend', () => {
  assert.deepEqual(Object.keys(KINDS).sort(), BACKENDS.map(({ type }) => type).sort());
});

test('in any cluster, any node reaches any other’s pods by exactly the expected kind of hop', () => {
  fc.assert(
    fc.property(plans(12), (plan) => {
      const tracer = new Tracer(traced(plan));
      for (let i = 0; i < plan.size; i++) for (let j = 0; j < plan.size; j++) checkPair(tracer, plan, i, j);
    }),
    { numRuns: 25 },
  );
});

test('clusters of 40 nodes', () => {
  const pair = fc.tuple(fc.nat(39), fc.nat(39));
  fc.assert(
    fc.property(plans(1), fc.array(pair, { minLength: 20, maxLength: 40 }), (small, pairs) => {
      const plan = { ...small, size: 40 };
      const tracer = new Tracer(traced(plan, new Set(pairs.flat())));
      for (const [i, j] of pairs) checkPair(tracer, plan, i, j);
    }),
    { numRuns: 10 },
  );
});

test('a cluster of 1,200 nodes, pairs sampled', () => {
  const plan: Plan = {
    size: 1200,
    families: [4, 6],
    backend: { Type: 'vxlan', DirectRouting: true },
    networks: 3,
  };
  const sampled = fc.sample(fc.nat(plan.size - 1), { numRuns: 12, seed: 7 });
  const tracer = new Tracer(traced(plan, new Set(sampled)));
  for (const i of sampled) for (const j of sampled) checkPair(tracer, plan, i, j);
});

test('a walk reports where and why a packet is lost', () => {
  const plan: Plan = { size: 3, families: [4], backend: { Type: 'vxlan' }, networks: 1 };
  const cluster = traced(plan);
  const [, second] = nodesOf(plan);
  const subnet = second?.subnets[0];
  assert.ok(subnet);
  const pod = nthIp(subnet, 9);
  const without = (name: string, pattern: RegExp) => {
    const node = cluster.nodes.get(name);
    assert.ok(node);
    const state = new Map([...node.state].filter(([key]) => !pattern.test(key)));
    return new Tracer({ ...cluster, nodes: new Map(cluster.nodes).set(name, { ...node, state }) });
  };
  const reasons: [string, RegExp, RegExp][] = [
    ['node0', new RegExp(`^route 254 ${subnet}`), /^no route to 10\.0\.2\.9$/],
    [
      'node0',
      new RegExp(`^neighbour flannel\\.1 ${addressOf(subnet)}$`),
      /^no neighbour 10\.0\.2\.0 on flannel\.1$/,
    ],
    ['node0', /^fdb /, /^no FDB entry/],
    ['node1', /^link flannel/, /^node1 drops it: no vxlan device with VNI 1/],
    ['node0', /^link flannel/, /^flannel\.1 is absent$/],
  ];
  for (const [name, pattern, reason] of reasons) {
    const result = without(name, pattern).walk('node0', pod);
    assert.ok(!result.delivered);
    assert.match(result.reason, reason);
  }
});
