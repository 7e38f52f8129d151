import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { LocalPod } from '../../src/cluster/node.ts';
import type { Facts } from '../../src/desired/desired.ts';
import { parseIp } from '../../src/ip/address.ts';
import { addressOf, parseCidr, parsePrefixed } from '../../src/ip/cidr.ts';
import { macFromSeed } from '../../src/ip/mac.ts';
import { diff } from '../../src/state/diff.ts';
import type { Item, KernelState } from '../../src/state/item.ts';
import { keyOf } from '../../src/state/item.ts';
import { order } from '../../src/state/order.ts';
import { factsOf, nodesOf, type Plan, plans, selfOf } from '../backends/cluster.ts';
import { composedState } from '../desired/composed.ts';
import { byKey } from './compose.ts';
import { SimulatedKernel } from './simulated-kernel.ts';

const HOST: readonly Item[] = ['eth0', 'veth1', 'veth2', 'veth3'].map((name) => ({
  kind: 'link',
  name,
  link: { type: 'existing' },
  up: true,
  entries: 'kernel',
}));

/** Foreign items, which must never be touched. */
const FOREIGN: readonly Item[] = [
  { kind: 'route', dst: parseCidr('203.0.113.0/24'), type: 'unicast', dev: 'eth0', protocol: 4 },
  { kind: 'neighbour', dev: 'eth0', ip: parseIp('172.16.0.99'), mac: macFromSeed('foreign') },
  { kind: 'nft-table', family: 'ip', table: 'kube-proxy', chains: [{ name: 'x', rules: [] }] },
  {
    kind: 'link',
    name: 'docker0',
    link: { type: 'bridge' },
    up: true,
    entries: 'kernel',
  },
  { kind: 'address', dev: 'docker0', address: parsePrefixed('172.31.0.1/24') },
];

function pod(n: number): LocalPod {
  return {
    containerId: `c${n}`,
    labels: {},
    ifName: 'eth0',
    hostDevice: `veth${n}`,
    netns: `/n${n}`,
    addresses: [],
  };
}

/** A state of the world: the cluster's facts as seen from node 0. */
const worlds = fc
  .record({
    plan: plans(6),
    gone: fc.array(fc.nat(5), { maxLength: 3 }),
    moved: fc.array(fc.nat(5), { maxLength: 2 }),
    pods: fc.uniqueArray(fc.integer({ min: 1, max: 3 })),
  })
  .map(({ plan, gone, moved, pods }): { plan: Plan; facts: Facts } => {
    const peers = nodesOf(plan).map((node, i) => (moved.includes(i) ? selfOf(plan, i, 1).node : node));
    const left = peers.filter((_, i) => i === 0 || !gone.includes(i));
    return { plan, facts: { ...factsOf(plan, 0, left), pods: pods.map(pod) } };
  });

type Damage = { kind: 'drop' | 'down' | 'unlink' | 'stray' | 'alter'; pick: number };
const damages: fc.Arbitrary<Damage[]> = fc.array(
  fc.record({
    kind: fc.constantFrom(
      'drop' as const,
      'down' as const,
      'unlink' as const,
      'stray' as const,
      'alter' as const,
    ),
    pick: fc.nat(1000),
  }),
  { maxLength: 6 },
);

function harm(kernel: SimulatedKernel, { kind, pick }: Damage): void {
  const items = [...kernel.state.values()].filter((item) => !FOREIGN.includes(item));
  const item = items[pick % items.length];
  if (!item) return;
  if (kind === 'stray') {
    const dst = parseCidr(`10.${pick % 250}.9.0/24`);
    const stray: Item = { kind: 'route', dst, type: 'unicast', dev: 'eth0', protocol: 110 };
    if (kernel.state.has('link eth0')) kernel.state.set(keyOf(stray), stray);
    return;
  }
  if (item.kind === 'link') {
    if (item.name === 'eth0' || item.link.type === 'existing') return;
    if (kind === 'unlink' || kind === 'drop') kernel.removeLink(item.name);
    if (kind === 'down') kernel.setDown(item.name);
    if (kind === 'alter') {
      kernel.state.set(keyOf(item), { ...item, mtu: 1300, mac: macFromSeed(`${pick}`) });
    }
    return;
  }
  if (item.kind === 'sysctl') kernel.state.set(keyOf(item), { ...item, value: '7' });
  else if (kind === 'alter' && item.kind === 'neighbour') {
    kernel.state.set(keyOf(item), { ...item, mac: macFromSeed(`${pick}`) });
  } else kernel.state.delete(keyOf(item));
}

/** The reachable subnets: route, neighbour and FDB entry exist, and the link is up. */
function reachable(state: KernelState): Set<string> {
  const found = new Set<string>();
  for (const item of state.values()) {
    if (item.kind !== 'route' || item.dev === undefined || item.via === undefined) continue;
    const link = state.get(`link ${item.dev}`);
    if (link?.kind !== 'link' || !link.up) continue;
    if (link.link.type === 'vxlan') {
      const neighbour = state.get(`neighbour ${item.dev} ${item.via}`);
      if (neighbour?.kind !== 'neighbour' || !state.has(`fdb ${item.dev} ${neighbour.mac}`)) continue;
    }
    found.add(item.dst);
  }
  return found;
}

/** What the forwarder of `udp` does. */
function makeByProgram(kernel: SimulatedKernel, desired: KernelState): void {
  for (const [key, item] of desired) {
    if (item.kind !== 'link' || item.link.type !== 'tun' || kernel.state.has(key)) continue;
    const { name, link } = item;
    kernel.state.set(key, { kind: 'link', name, link, up: false, entries: 'kernel' });
  }
}

function wanted(facts: Facts): Map<string, Item> {
  return byKey(composedState(facts).items);
}

/**
 * Applies the changes from `diff` and `order` until none are left; calls `watch` after every single change.
 */
function settle(kernel: SimulatedKernel, desired: KernelState, watch: () => void = () => {}): number {
  for (let pass = 1; ; pass++) {
    assert.ok(pass <= 3, 'does not converge');
    makeByProgram(kernel, desired);
    const changes = diff(kernel.state, desired);
    if (changes.length === 0) return pass;
    for (const change of order(changes).flat()) {
      const error = kernel.apply(change);
      assert.equal(error, undefined, `${change.action} ${keyOf(change.item)}: ${error}`);
      watch();
    }
  }
}

test('from any state to any other, in one pass, with every change accepted; nothing foreign is touched', () => {
  fc.assert(
    fc.property(worlds, worlds, damages, (before, after, harms) => {
      const kernel = new SimulatedKernel([...HOST, ...FOREIGN]);
      settle(kernel, wanted(before.facts));
      for (const each of harms) harm(kernel, each);
      settle(kernel, wanted(after.facts));
      assert.deepEqual(diff(kernel.state, wanted(after.facts)), []);
      for (const item of FOREIGN) assert.equal(kernel.state.get(keyOf(item)), item);
      const ours = [...kernel.state.values()].filter(
        (item) => !FOREIGN.includes(item) && item.kind === 'route',
      );
      const desired = wanted(after.facts);
      for (const item of ours) assert.ok(desired.has(keyOf(item)), `${keyOf(item)} was left over`);
    }),
    { numRuns: 300 },
  );
});

test('a subnet reachable before and after stays reachable after every single change (make before break)', () => {
  // One network and VNI: a device that has to be recreated inevitably takes all its peers with it.
  const pair = worlds.chain((before) =>
    fc.tuple(
      fc.constant(before),
      fc.record({ direct: fc.boolean(), moved: fc.array(fc.nat(5), { maxLength: 3 }), gone: fc.nat(9) }),
    ),
  );
  fc.assert(
    fc.property(pair, ([{ plan, facts }, { direct, moved, gone }]) => {
      const backend =
        plan.backend.Type === 'vxlan' ? { ...plan.backend, DirectRouting: direct } : plan.backend;
      const peers = facts.peers
        .filter((_, i) => i !== gone)
        .map((node, i) => {
          if (!moved.includes(i)) return node;
          const changed = selfOf(plan, i, 2).node;
          return { ...changed, name: node.name, subnets: node.subnets };
        });
      const after = wanted({ ...factsOf({ ...plan, backend }, 0, peers), pods: facts.pods });
      const kernel = new SimulatedKernel([...HOST, ...FOREIGN]);
      settle(kernel, wanted(facts));
      const start = reachable(kernel.state);
      const end = new SimulatedKernel([...HOST, ...after.values()]).state;
      const steady = [...start].filter((subnet) => reachable(end).has(subnet));
      settle(kernel, after, () => {
        const now = reachable(kernel.state);
        for (const subnet of steady) assert.ok(now.has(subnet), `${subnet} was cut off`);
      });
    }),
    { numRuns: 300 },
  );
});

test('nothing is deleted unless pruning is allowed', () => {
  fc.assert(
    fc.property(worlds, worlds, (before, after) => {
      const changes = diff(wanted(before.facts), wanted(after.facts), { prune: false });
      assert.deepEqual(
        changes.filter(({ action }) => action === 'delete'),
        [],
      );
    }),
    { numRuns: 50 },
  );
});

test('a recreated device gets all its entries back in the same pass', () => {
  const plan: Plan = { size: 4, families: [4], backend: { Type: 'vxlan' }, networks: 1 };
  const kernel = new SimulatedKernel(HOST);
  settle(kernel, wanted(factsOf(plan)));
  const other = wanted(factsOf({ ...plan, backend: { Type: 'vxlan', GBP: true } }));
  const changes = diff(kernel.state, other);
  const count = (kind: string) => changes.filter(({ item }) => item.kind === kind).length;
  assert.deepEqual([count('link'), count('route'), count('neighbour'), count('fdb')], [1, 3, 3, 3]);
  assert.equal(changes.find(({ item }) => item.kind === 'link')?.action, 'recreate');
  for (const change of order(changes).flat()) assert.equal(kernel.apply(change), undefined);
  assert.equal(reachable(kernel.state).size, 3);
  assert.deepEqual(diff(kernel.state, other), []);
  assert.ok(addressOf(parseCidr('10.0.0.0/8')));
});
