import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { test } from 'node:test';
import { readNetwork } from '../../../src/cluster/network.ts';
import { agentStatus } from '../../../src/lab/machine/agent.ts';
import { withStore } from '../../../src/lab/machine/store.ts';
import { problemText } from '../../../src/problem.ts';
import { NO_KERNEL } from '../../state/namespace.ts';
import { BgpCluster, until } from './bgp-cluster.ts';

/** Milliseconds: both backends coexist for 30 s. */
const LIMIT = 60_000;

const conf = (type: string) => ({ Network: '10.244.0.0/16', wiring: 'routed', Backend: { Type: type } });

/** Changes the backend as an operator does, through the store. */
function setBackend(cluster: BgpCluster, type: string): Promise<void> {
  return withStore(cluster.lab, (store) => store.network.write(readNetwork(conf(type))));
}

/** Routes of a protocol to the subnets of other nodes. */
function routes(cluster: BgpCluster, node: string, protocol: string): string[] {
  return cluster
    .run(node, 'ip', 'route', 'show', 'proto', protocol)
    .split('\n')
    .filter((line) => / via /.test(line));
}

async function untilWhole(cluster: BgpCluster, backend: string): Promise<void> {
  await until(LIMIT, async () => {
    const all = await Promise.all(cluster.nodes.map((node) => agentStatus(cluster.lab, node)));
    return all.flatMap((status) => {
      if (!status) return ['no answer'];
      const { ready, problems, node, notReady = '' } = status;
      return ready && status.backend === backend
        ? problems.map(problemText)
        : [`${node}: ${status.backend}, ${notReady}`];
    });
  });
}

test('from bgp to another backend and back', { skip: NO_KERNEL, timeout: 300_000 }, async (t) => {
  await using cluster = await BgpCluster.up(3, conf('bgp'));
  const { nodes } = cluster;
  const others = nodes.length - 1;
  for (const node of nodes) await cluster.addPod(node);
  await cluster.established(() => others);
  await cluster.reachable();
  const pings = cluster.pods.flatMap((from) =>
    cluster.pods.filter((to) => to !== from).flatMap((to) => cluster.ping(t, from, to)),
  );
  const nothingLost = (what: string): void => {
    for (const ping of pings) assert.deepEqual(ping.soFar().lost, [], what);
  };

  await t.test(
    'BIRD and its routes and files are removed once the new routes carry the traffic',
    async () => {
      await setBackend(cluster, 'host-gw');
      await untilWhole(cluster, 'host-gw');
      for (const node of nodes) {
        assert.equal(routes(cluster, node, '110').length, others, 'the new ones');
        assert.equal(routes(cluster, node, 'bird').length, others, 'the former ones');
        assert.ok(cluster.bird(node));
        await assert.rejects(cluster.bgpStatus(node), {
          code: 'NOT_FOUND',
          message: /this node does not run BGP/,
        });
      }
      await until(LIMIT, () => nodes.filter((node) => cluster.bird(node)).map((node) => `BIRD on ${node}`));
      for (const node of nodes) {
        assert.equal(routes(cluster, node, '110').length, others);
        await until(LIMIT, () => routes(cluster, node, 'bird'));
        await until(LIMIT, () => (existsSync(cluster.birdFiles(node).folder) ? ['its files'] : []));
      }
      await cluster.reachable();
      nothingLost('bgp to host-gw');
    },
  );

  await t.test('a restarted agent ends a BIRD that a former backend left', async () => {
    await setBackend(cluster, 'bgp');
    await untilWhole(cluster, 'bgp');
    await cluster.established(() => others);
    await cluster.kill(['node1'], 'agent');
    await setBackend(cluster, 'host-gw');
    await cluster.start(['node1']);
    await untilWhole(cluster, 'host-gw');
    assert.ok(cluster.bird('node1'));
    await until(LIMIT, () => nodes.filter((node) => cluster.bird(node)).map((node) => `BIRD on ${node}`));
    await until(LIMIT, () => routes(cluster, 'node1', 'bird'));
    nothingLost('an agent killed meanwhile');
  });

  await t.test('back: BIRD starts, and the former routes are removed once it has its own', async () => {
    await setBackend(cluster, 'bgp');
    await untilWhole(cluster, 'bgp');
    await cluster.established(() => others);
    for (const node of nodes) {
      assert.equal(routes(cluster, node, 'bird').length, others);
      assert.equal(routes(cluster, node, '110').length, others);
    }
    await until(LIMIT, () => nodes.flatMap((node) => routes(cluster, node, '110')));
    for (const node of nodes) assert.equal(routes(cluster, node, 'bird').length, others);
    await cluster.reachable();
    nothingLost('host-gw to bgp');
  });

  await t.test('to vxlan: no node sends into a tunnel whose other end doesn’t exist yet', async (t) => {
    await setBackend(cluster, 'vxlan');
    await untilWhole(cluster, 'vxlan');
    await cluster.reachable();
    for (const ping of pings) {
      const { sent, lost, seconds } = await ping.end();
      assert.deepEqual(lost, []);
      t.diagnostic(`${sent} packets in ${seconds.toFixed(1)} s, ${lost.length} lost`);
    }
  });
});
