import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { BlockAssigner, type BlockAssignerOptions } from '../../../src/ipam/blocks/block-assigner.ts';
import { BlockUpkeep } from '../../../src/ipam/blocks/upkeep.ts';
import { agentStatus } from '../../../src/lab/machine/agent.ts';
import { startStore, storeProcess, withStore } from '../../../src/lab/machine/store.ts';
import { killNow } from '../../../src/linux/process.ts';
import type { RunningPing } from '../../agent/running-ping.ts';
import { BgpCluster, until } from './bgp-cluster.ts';

/** Milliseconds. */
const LIMIT = 60_000;
/** Duration of the store outage in milliseconds: a minute in a long run. */
const AWAY = Number(process.env.FLATNET_STORE_AWAY ?? 10_000);

describe('no packet is lost between untouched pods', { concurrency: true }, () => {
  test('agents, BIRD and the store restart', async (t) => {
    await using cluster = await BgpCluster.up(2);
    const { nodes } = cluster;
    for (const node of nodes) await cluster.addPod(node);
    await cluster.established(() => 1);
    await cluster.reachable();
    const pings = everyWay(t, cluster);
    const check = (what: string): void => nothingLost(pings, what);

    for (const who of [['node1'], ['node2'], nodes]) {
      await cluster.kill(who, 'agent');
      await sleep(300);
      await cluster.start(who);
      check(`agents of ${who} killed`);
    }
    for (const who of [['node1'], ['node2'], nodes]) {
      await cluster.kill(who, 'bird');
      await cluster.established(() => 1);
      check(`BIRD of ${who} killed`);
      await cluster.kill(who, 'agent', 'bird');
      await sleep(500);
      await cluster.start(who);
      await cluster.established(() => 1);
      check(`agent and BIRD of ${who} killed`);
    }

    const store = storeProcess(cluster.lab);
    assert.ok(store);
    await killNow([store]);
    const begin = performance.now();
    await cluster.kill(['node1'], 'agent', 'bird');
    await cluster.kill(['node2'], 'agent');
    await cluster.start(nodes);
    await cluster.established(() => 1);
    await sleep(AWAY - (performance.now() - begin));
    await until(LIMIT, async () => {
      const all = await Promise.all(nodes.map((node) => agentStatus(cluster.lab, node)));
      return all.flatMap((status, i) =>
        status?.store?.connected === false ? [] : `${nodes[i]} does not see it`,
      );
    });
    check('the store unreachable');
    await startStore(cluster.lab);
    await until(LIMIT, async () => {
      const all = await Promise.all(nodes.map((node) => agentStatus(cluster.lab, node)));
      return all
        .filter((status) => !status?.store?.connected)
        .map((status) => `${status?.node} without store`);
    });
    await sleep(500);
    await cluster.addPod('node1');
    await cluster.reachable();
    await finished(t, pings);
  });

  test('pools and blocks come and go, the mesh becomes reflectors, a reflector dies', async (t) => {
    await using cluster = await BgpCluster.up(4);
    const { nodes } = cluster;
    for (const node of nodes) await cluster.addPod(node);
    await cluster.established(() => 3);
    await cluster.reachable();
    const pings = everyWay(t, cluster);
    const check = (what: string): void => nothingLost(pings, what);

    await cluster.apply({
      kind: 'IPPool',
      metadata: { name: 'second' },
      spec: { cidr: '10.250.0.0/24', blockSize: 28 },
    });
    await sleep(500);
    check('a pool added');

    const before = await cluster.kernels();
    const release = await claim(cluster, 'node3', 65);
    await until(LIMIT, async () => {
      const { blocks } = (await cluster.ipam()).counts;
      const routes = nodes.map(
        (name) => cluster.run(name, 'ip', 'route').match(/\/2[68] .*proto (bird|110)/g) ?? [],
      );
      return routes
        .filter(({ length }) => length !== blocks)
        .map((known) => `of ${blocks} blocks only ${known}`);
    });
    check('a block claimed');
    await release();
    await until(LIMIT, async () =>
      (await cluster.kernels()) === before ? [] : ['the block is still there'],
    );
    check('a block released');

    const node = (name: string, i: number, bgp: object): object => ({
      kind: 'Node',
      metadata: { name, labels: i < 2 ? { reflector: 'yes' } : {} },
      spec: i < 2 ? { bgp } : {},
    });
    // In Calico's documented order: labels, peers, cluster identifiers, no mesh.
    await cluster.apply(...nodes.map((name, i) => node(name, i, {})));
    await cluster.apply({
      kind: 'BGPPeer',
      metadata: { name: 'reflectors' },
      spec: { nodeSelector: 'all()', peerSelector: "reflector == 'yes'" },
    });
    await sleep(1000);
    await cluster.established(() => 3);
    check('peers by selector beside the mesh');
    // Both at once: each restarts its BIRD for its own change, and again for the other's.
    await cluster.apply(
      ...nodes.slice(0, 2).map((name, i) => node(name, i, { routeReflectorClusterID: '244.0.0.1' })),
    );
    await until(LIMIT, () =>
      nodes.slice(0, 2).flatMap((name) => {
        const clients = readFileSync(cluster.birdFiles(name).config, 'utf8').match(/rr client/g) ?? [];
        return clients.length === 2 ? [] : [`${name} has ${clients.length} clients`];
      }),
    );
    await cluster.established(() => 3);
    check('reflectors beside the mesh');
    await cluster.apply({
      kind: 'BGPConfiguration',
      metadata: { name: 'default' },
      spec: { nodeToNodeMeshEnabled: false },
    });
    await cluster.established((name) => (['node1', 'node2'].includes(name) ? 3 : 2));
    nothingLost(pings, 'no mesh');

    await cluster.kill(['node1'], 'agent', 'bird');
    await sleep(3000);
    nothingLost(pings, 'a reflector dead');
    await cluster.start(['node1']);
    await cluster.established((name) => (['node1', 'node2'].includes(name) ? 3 : 2));
    await cluster.reachable();
    for (const who of [['node1', 'node2'], ['node2', 'node3'], nodes]) {
      await cluster.kill(who, 'bird');
      await cluster.established((name) => (['node1', 'node2'].includes(name) ? 3 : 2));
      nothingLost(pings, `BIRD of ${who} killed`);
    }
    await finished(t, pings);
  });
});

/**
 * Claims `count` addresses for a node as its agent would; the returned function releases them and their
 * blocks.
 */
async function claim(cluster: BgpCluster, node: string, count: number): Promise<() => Promise<void>> {
  const ipPools = await cluster.pools();
  const withAssigner = <T>(work: (assigner: BlockAssigner, options: BlockAssignerOptions) => Promise<T>) =>
    withStore(cluster.lab, ({ blocks }) => {
      const resources = () => ({ ipPools, ipReservations: [] });
      const options = { store: blocks, node, nodeLabels: () => ({}), resources };
      return work(new BlockAssigner(options), options);
    });
  const handles = Array.from({ length: count }, (_, i) => `test ${node} ${i}`);
  await withAssigner(async (assigner) => {
    for (const handle of handles) await assigner.assign({ handle, families: [4], attributes: {} });
  });
  return () =>
    withAssigner(async (assigner, options) => {
      await cluster.blocks((blocks) => blocks.configure({ cooldown: 0 }));
      for (const handle of handles) await assigner.release(handle);
      const upkeep = new BlockUpkeep(assigner, options);
      // A block found empty by two scans is released.
      for (let look = 0; look < 2; look++) await upkeep.releaseEmptyBlocks();
    });
}

/** From every pod to every pod of another node. */
function everyWay(t: TestContext, cluster: BgpCluster): RunningPing[] {
  const { pods } = cluster;
  return pods.flatMap((from) => pods.filter((to) => to !== from).flatMap((to) => cluster.ping(t, from, to)));
}

function nothingLost(pings: readonly RunningPing[], what: string): void {
  const lost = pings.map((ping) => ping.soFar().lost).filter(({ length }) => length > 0);
  assert.deepEqual(
    lost.map(({ length, ...all }) => `${length} from ${all[0]} on`),
    [],
    what,
  );
}

async function finished(t: TestContext, pings: readonly RunningPing[]): Promise<void> {
  for (const ping of pings) {
    const { sent, lost, seconds } = await ping.end();
    t.diagnostic(`${sent} packets in ${seconds.toFixed(1)} s, ${lost.length} lost`);
    assert.deepEqual(lost, []);
    // On an idle machine it is twenty times that.
    assert.ok(sent > 10 * seconds, `${sent} packets in ${seconds} s`);
  }
}
