import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { BACKENDS } from '../../src/backends/registry.ts';
import { isRouted } from '../../src/cluster/physical.ts';
import { type Family, familyOf } from '../../src/ip/address.ts';
import { addressOf, nthIp } from '../../src/ip/cidr.ts';
import { Tracer } from '../../src/trace/fib.ts';
import {
  CHOICES,
  everyPlan,
  factsOf,
  isLawful,
  KINDS,
  kindOf,
  networkOf,
  nodesOf,
  type Plan,
  plans,
  podAddressesOf,
  traced,
} from '../backends/cluster.ts';
import { composedState } from '../desired/composed.ts';

/** How packets from a node to a pod of another travel, and where they arrive; undefined: not at all. */
function expected(plan: Plan, from: number, to: number, family: Family) {
  const { wiring, physical } = networkOf(plan);
  const own = { bridge: 'cni0', routed: 'cali0', macvlan: 'flannel-macvlan', ipvlan: 'flannel-ipvlan' };
  const atNode = { node: `node${to}`, dev: own[wiring] };
  if (physical) {
    const { mode } = physical;
    if (from === to)
      return mode === 'private' || mode === 'vepa' ? undefined : { kinds: ['local'], ...atNode };
    return isRouted(mode) ? undefined : { kinds: ['direct', 'local'], node: `pod${to}`, dev: 'eth0' };
  }
  if (from === to) return { kinds: ['local'], ...atNode };
  const kind = kindOf(plan).hop(plan.backend, isSameNetwork(plan, from, to), family);
  return kind && { kinds: [kind, 'local'], ...atNode };
}

function isSameNetwork({ networks }: Plan, from: number, to: number): boolean {
  return from % networks === to % networks;
}

function checkPair(tracer: Tracer, plan: Plan, from: number, to: number): void {
  for (const ip of podAddressesOf(plan, to)) {
    const result = tracer.walk(`node${from}`, ip);
    const right = expected(plan, from, to, familyOf(ip));
    const say = JSON.stringify({ plan, from, to, result });
    assert.equal(result.delivered, right !== undefined, say);
    if (right === undefined) continue;
    const last = result.hops.at(-1);
    const kinds = result.hops.map((hop) => hop.kind);
    assert.deepEqual({ kinds, node: last?.node, dev: last?.dev }, right, say);
    assert.equal(result.hops[0]?.throughRouter ?? false, !isSameNetwork(plan, from, to), say);
  }
}

function checkAll(plan: Plan): void {
  const tracer = new Tracer(traced(plan));
  for (let i = 0; i < plan.size; i++) for (let j = 0; j < plan.size; j++) checkPair(tracer, plan, i, j);
}

test('the generated clusters cover every backend', () => {
  assert.deepEqual(Object.keys(KINDS).sort(), BACKENDS.map(({ type }) => type).sort());
});

test('what cannot work is refused, and all else is accepted', () => {
  for (const choice of CHOICES) {
    const { type, ...rest } = choice;
    const plan: Plan = { ...rest, size: 2, networks: 1, backend: { Type: type } };
    const accept = () => void composedState(factsOf(plan));
    if (isLawful(choice)) assert.doesNotThrow(accept, JSON.stringify(choice));
    else assert.throws(accept, { code: 'CONFIG_INVALID' }, JSON.stringify(choice));
  }
});

test('whatever is accepted works: every backend, wiring, address plan and family', () => {
  for (const plan of everyPlan(3)) checkAll(plan);
});

test('in any cluster, any node reaches any other’s pods by exactly the expected kind of hop', () => {
  fc.assert(fc.property(plans(12), checkAll), { numRuns: 25 });
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

test('a node takes a tunnel’s packets from those that it knows, unless it takes them from all', () => {
  for (const Type of ['vxlan', 'vxlan-md', 'geneve', 'gre', 'ipip', 'udp']) {
    for (const family of [4, 6] as const) {
      for (const membersOnly of [true, false]) {
        const plan: Plan = { size: 2, families: [family], backend: { Type, membersOnly }, networks: 1 };
        const { nodes } = traced(plan);
        const node1 = nodes.get('node1') ?? assert.fail();
        const state = new Map([...node1.state].filter(([, item]) => item.kind !== 'nft-element'));
        const tracer = new Tracer({ nodes: new Map(nodes).set('node1', { ...node1, state }), routed: true });
        for (const ip of podAddressesOf(plan, 1)) {
          const walk = tracer.walk('node0', ip);
          const say = `${Type} IPv${family} ${membersOnly} ${JSON.stringify(walk)}`;
          assert.equal(walk.delivered, !membersOnly, say);
          if (!walk.delivered) assert.match(walk.reason, /^node1 drops it: \S+2 is not a node$/, say);
        }
      }
    }
  }
});
