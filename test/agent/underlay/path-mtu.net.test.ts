import assert from 'node:assert/strict';
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { agentStatus, startAgent, stopAgent } from '../../../src/lab/machine/agent.ts';
import { storeProcess } from '../../../src/lab/machine/store.ts';
import { Monitor } from '../../../src/linux/monitor.ts';
import { netnsPath } from '../../../src/linux/netns.ts';
import { signalProcess } from '../../../src/linux/process.ts';
import { Cluster, type TestNode } from '../cluster.ts';
import { Foreigners } from '../foreigners.ts';
import { putForeign } from '../leases.ts';
import { NETWORKS } from '../networks.ts';
import { settled } from '../settle.ts';

/** Milliseconds; generous, because this does not test speed. */
const LIMIT = 60_000;

/** The node's address of one family on the underlay. */
function addressOn(cluster: Cluster, node: TestNode, family: 4 | 6): string {
  return cluster.self(node).underlay.addresses[family] ?? assert.fail(`${node.name} has no address`);
}

/** Runs `ip route …`, sets the expected MTU, and waits until tunnels, bridge and pods have it. */
async function narrowed(cluster: Cluster, node: TestNode, pathMtu: number | undefined, ...routes: string[]) {
  for (const route of routes) cluster.ip(node, route);
  delete node.pathMtu;
  if (pathMtu !== undefined) node.pathMtu = pathMtu;
  await settled(cluster, LIMIT);
}

test('the MTU follows the routes to the peers in both families', async () => {
  await using cluster = await Cluster.up(3, NETWORKS['vxlan dual stack']);
  const [node, second, third] = cluster.nodes.values();
  assert.ok(node && second && third);
  const to = (peer: TestNode, family: 4 | 6): string =>
    `${family === 6 ? '-6 ' : ''}route replace ${addressOn(cluster, peer, family)} dev eth0 proto static`;

  await narrowed(cluster, node, 1400, `${to(second, 4)} mtu 1400`);
  const { subnetFile } = cluster.lab.paths.node(node.name).agent;
  await until(
    () => readFileSync(subnetFile, 'utf8'),
    (text) => /^FLANNEL_MTU=1330$/m.test(text),
  );

  await narrowed(cluster, node, 1400, `${to(third, 6)} mtu 1420`);
  await narrowed(cluster, node, 1390, `${to(third, 4)} mtu lock 1390`);
  // A peer that is briefly unreachable keeps its last route: otherwise the next step would raise the MTU to
  // 1420.
  cluster.ip(node, `route add blackhole ${addressOn(cluster, second, 4)} table 99 proto static`);
  cluster.ip(node, `rule add to ${addressOn(cluster, second, 4)} lookup 99 priority 99`);
  cluster.ip(node, to(third, 4));
  node.pathMtu = 1400;
  await until(
    () => agentStatus(cluster.lab, node.name),
    (status) => status?.underlay?.pathMtu === 1400,
  );
  cluster.ip(node, 'rule del priority 99');
  await narrowed(cluster, node, 1420, to(second, 4));
  await narrowed(cluster, node, undefined, to(third, 6));

  // Jumbo frames as far as the switch.
  cluster.setMtu(node, 9000);
  await narrowed(
    cluster,
    node,
    1500,
    ...[second, third].flatMap((peer) => ([4, 6] as const).map((family) => `${to(peer, family)} mtu 1500`)),
  );
});

test('a starting agent never raises the MTU, not even for a moment', async () => {
  await using cluster = await Cluster.up(2, NETWORKS.vxlan);
  const [node, peer] = cluster.nodes.values();
  assert.ok(node && peer);
  const route = `route replace ${addressOn(cluster, peer, 4)} dev eth0 proto static mtu 1400`;
  await narrowed(cluster, node, 1400, route);
  const viewFile = join(cluster.lab.paths.node(node.name).agent.state, 'view.json');
  // The view is written at most once a second.
  await until(
    () => readFileSync(viewFile, 'utf8'),
    (text) => text.includes(addressOn(cluster, peer, 4)),
  );
  const store = storeProcess(cluster.lab);
  assert.ok(store);
  for (const remembers of [true, false]) {
    await stopAgent(cluster.lab, node.name, 'kill');
    if (!remembers) rmSync(viewFile);
    const mtus = await mtusDuring(cluster, node, async () => {
      if (remembers) signalProcess(store, 'SIGSTOP');
      try {
        await startAgent(cluster.lab, node.name);
        // Until then it has only the last view.
        if (remembers)
          await until(
            () => agentStatus(cluster.lab, node.name),
            (status) => status?.ready === true,
          );
      } finally {
        if (remembers) signalProcess(store, 'SIGCONT');
      }
      await settled(cluster, LIMIT);
    });
    assert.deepEqual(
      mtus.filter((mtu) => mtu > 1350),
      [],
      `with${remembers ? '' : 'out'} the last view`,
    );
  }
});

test('a peer that joins behind a narrow route lowers the MTU', async () => {
  await using cluster = await Cluster.up(2, NETWORKS.vxlan);
  const [node] = cluster.nodes.values();
  assert.ok(node);
  const peer = new Foreigners(cluster).create();
  cluster.ip(node, `route add ${peer.addresses[4]} dev eth0 proto static mtu 1300`);
  await settled(cluster, LIMIT);
  node.pathMtu = 1300;
  await putForeign(cluster, peer);
  await settled(cluster, LIMIT);
});

/** The MTUs that the tunnel and the bridge had meanwhile. */
async function mtusDuring(cluster: Cluster, node: TestNode, work: () => Promise<void>): Promise<number[]> {
  const stop = new AbortController();
  const monitor = Monitor.open({
    netns: netnsPath(cluster.netns(node)),
    signal: stop.signal,
    objects: ['link'],
  });
  const mtus: number[] = [];
  const watching = monitor.run((event) => {
    if (event.type === 'new' && event.object === 'link' && /^(flannel|cni)/.test(event.value.name))
      mtus.push(event.value.mtu);
  });
  try {
    await work();
  } finally {
    stop.abort();
    await watching;
  }
  return mtus;
}

/** Polls until the value is as wanted, for at most a minute. */
async function until<T>(look: () => T | Promise<T>, good: (value: T) => boolean): Promise<T> {
  for (const begin = performance.now(); ; ) {
    const value = await look();
    if (good(value)) return value;
    assert.ok(performance.now() - begin < LIMIT, `still ${JSON.stringify(value)}`);
    await sleep(20);
  }
}
