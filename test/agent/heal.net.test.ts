import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Node } from '../../src/cluster/node.ts';
import { startAgent, stopAgent } from '../../src/lab/machine/agent.ts';
import { Cluster, type TestNode } from './cluster.ts';
import { Foreigners } from './foreigners.ts';
import { KERNEL_FAULTS, tunnels } from './kernel-faults.ts';
import { deleteForeign, putForeign } from './leases.ts';
import { NETWORKS } from './networks.ts';
import { Random } from './random.ts';
import { releaseLease } from './release-lease.ts';
import { kernelDifferences, reachable, settled } from './settle.ts';
import { healed, Watcher } from './watcher.ts';

/** Time from a fault to the repaired state, in milliseconds. */
const LIMIT = 1000;
/**
 * The same for faults that include starting a program, which is slow on a busy machine; the diagnostics show
 * the time.
 */
const START_LIMIT = 8000;

for (const [name, conf] of Object.entries(NETWORKS)) {
  test(`every fault is healed within a second (${name})`, async (t) => {
    await using cluster = await Cluster.up(3, conf);
    const [first, second, third] = cluster.nodes.values();
    assert.ok(first && second && third);
    const random = new Random(1);
    const foreigners = new Foreigners(cluster);
    const [one, two] = [foreigners.create(), foreigners.create()];
    for (const each of [one, two]) await putForeign(cluster, each);
    await settled(cluster);
    const heals = watching(t, cluster);

    for (const [fault, make] of Object.entries(KERNEL_FAULTS)) {
      const harm = make(cluster, first, random);
      if (harm) await heals(fault, harm);
    }
    await heals('underlay address changed', () => cluster.moveAddress(second));
    await heals('underlay address gone for a while', () => cluster.moveAddress(third, 300));
    for (const mtu of [1400, 9000, 1500])
      await heals(`underlay MTU ${mtu}`, () => cluster.setMtu(second, mtu));
    await heals("node's keys deleted from the store", () => releaseLease(cluster.lab, second.name));

    // A peer that returns: some of its identifying data stays, some changes.
    const moved = { ...one, addresses: foreigners.create().addresses };
    await heals('peer with a new address', () => putForeign(cluster, moved, one));
    const remade = { ...moved, backend: foreigners.create().backend };
    await heals('peer with a new MAC', () => putForeign(cluster, remade, moved));
    const elsewhere = { ...remade, subnets: foreigners.create().subnets };
    await heals('peer with a new subnet', () => putForeign(cluster, elsewhere, remade));
    const exchanged = { ...two, subnets: elsewhere.subnets };
    await heals('everything about a peer changed, and its old subnet taken by another', async () => {
      await deleteForeign(cluster, elsewhere);
      await putForeign(cluster, exchanged, two);
    });

    await heals(
      'agent killed and restarted',
      async () => {
        await stopAgent(cluster.lab, first.name, 'kill');
        await startAgent(cluster.lab, first.name);
      },
      START_LIMIT,
    );
    await heals(
      'a peer deleted, and much broken, while the agent was down',
      () => breakDead(cluster, first, exchanged),
      START_LIMIT,
    );
    await settled(cluster);
  });
}

async function breakDead(cluster: Cluster, node: TestNode, peer: Node): Promise<void> {
  await stopAgent(cluster.lab, node.name, 'kill');
  for (const fault of [
    'route deleted',
    'tunnel deleted',
    'bridge deleted',
    'nft table deleted',
    'stray route',
  ]) {
    await KERNEL_FAULTS[fault]?.(cluster, node, new Random(1))?.();
  }
  await deleteForeign(cluster, peer);
  await startAgent(cluster.lab, node.name);
}

/**
 * Injects a fault, measures the time until netlink shows every kernel repaired, and confirms it with an
 * independent dump and pings.
 */
function watching(t: TestContext, cluster: Cluster) {
  return async (fault: string, harm: () => unknown, limit = LIMIT): Promise<void> => {
    const watchers = await Promise.all([...cluster.nodes.values()].map((node) => new Watcher(cluster, node)));
    const begin = performance.now();
    try {
      await harm();
      const harmed = performance.now() - begin;
      const took = await healed(watchers, begin, limit);
      t.diagnostic(`${fault}: ${Math.round(took)} ms, of which the fault itself ${Math.round(harmed)} ms`);
      for (const node of cluster.nodes.values())
        assert.deepEqual(await kernelDifferences(cluster, node), [], fault);
      await reachable(cluster);
    } catch (error) {
      throw new Error(fault, { cause: error });
    } finally {
      for (const watcher of watchers) watcher[Symbol.dispose]();
    }
  };
}

test('a brief loss of the underlay address removes nothing that depends on it', async () => {
  const conf = NETWORKS['vxlan dual stack'];
  assert.ok(conf);
  await using cluster = await Cluster.up(2, conf);
  const [node] = cluster.nodes.values();
  assert.ok(node);
  const before = tunnels(cluster).map(({ dev }) => indexOf(cluster, node, dev));
  const addresses: string[] = cluster
    .ip(node, '-o addr show dev eth0 scope global')
    .split('\n')
    .flatMap((line) => line.split(/\s+/)[3] ?? []);
  for (const address of addresses) {
    cluster.ip(node, `addr del ${address} dev eth0`);
    await sleep(200);
    cluster.ip(node, `addr add ${address} dev eth0 nodad`);
    await settled(cluster, LIMIT);
  }
  assert.deepEqual(
    tunnels(cluster).map(({ dev }) => indexOf(cluster, node, dev)),
    before,
    'the tunnels are the same devices',
  );
});

/** Each of them leaves something for the others to break. */
const BESIDE_EACH_OTHER = [
  'route deleted',
  'neighbour deleted',
  'FDB entry deleted',
  'tunnel MTU',
  'tunnel MAC',
  'bridge MTU',
  'hairpin off',
  'pod veth down',
  'pod off the bridge',
  'nft rule added',
  'nft table flushed',
  'nft table deleted',
  'stray route',
  'stray address',
  'stray neighbour',
  'stray FDB entry',
];

test('every kind of kernel fault shows in the dump', async () => {
  await using cluster = await Cluster.up(2, NETWORKS['vxlan dual stack']);
  const [node] = cluster.nodes.values();
  assert.ok(node);
  await stopAgent(cluster.lab, node.name, 'stop');
  let before = await kernelDifferences(cluster, node);
  assert.deepEqual(before, []);
  for (const fault of BESIDE_EACH_OTHER) {
    await KERNEL_FAULTS[fault]?.(cluster, node, new Random(1))?.();
    const now = await kernelDifferences(cluster, node);
    assert.notDeepEqual(now, before, fault);
    before = now;
  }
  await startAgent(cluster.lab, node.name);
  await settled(cluster);
});

function indexOf(cluster: Cluster, node: TestNode, dev: string): unknown {
  return JSON.parse(cluster.ip(node, `-j link show ${dev}`))[0].ifindex;
}
