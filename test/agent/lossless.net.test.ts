import assert from 'node:assert/strict';
import { describe, type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { agentReady, agentStatus, startAgent, stopAgent } from '../../src/lab/machine/agent.ts';
import { startStore, stopStore } from '../../src/lab/machine/store.ts';
import { Cluster, type TestNode } from './cluster.ts';
import { NETWORKS } from './networks.ts';
import { RunningPing } from './running-ping.ts';
import { settled } from './settle.ts';
import { killStore } from './store-faults.ts';

// Run concurrently, so that their waits overlap.
describe('nothing is lost', { concurrency: true }, () => {
  for (const [name, conf] of Object.entries(NETWORKS)) {
    test(`agents and store restart during a ping without packet loss (${name})`, async (t) => {
      await using cluster = await Cluster.up(2, conf);
      const { lab } = cluster;
      const [one, two] = cluster.nodes.values();
      assert.ok(one && two);
      await settled(cluster);
      const pings = [...pingsBetween(t, cluster, one, two), ...pingsBetween(t, cluster, two, one)];
      const start = async (...nodes: TestNode[]): Promise<void> => {
        await Promise.all(nodes.map((node) => startAgent(lab, node.name)));
        await Promise.all(nodes.map((node) => agentReady(lab, node.name)));
        await sleep(200);
      };

      for (const nodes of [[one], [two], [one, two]]) {
        for (const how of ['kill', 'stop'] as const) {
          await Promise.all(nodes.map((node) => stopAgent(lab, node.name, how)));
          await sleep(300);
          await start(...nodes);
        }
      }
      await stopStore(lab);
      await sleep(500);
      await startStore(lab);
      await killStore(cluster);
      // Agents that start without a store know the cluster from their last view, and take pods.
      await stopAgent(lab, one.name, 'kill');
      await stopAgent(lab, two.name, 'stop');
      await start(one, two);
      await cluster.addPod(one);
      await sleep(10_000);
      for (const { name } of [one, two]) {
        const status = await agentStatus(lab, name);
        assert.equal(status?.store?.connected, false, `${name} sees that the store is unreachable`);
      }
      await startStore(lab);
      await settled(cluster);

      for (const ping of pings) {
        const { sent, lost, seconds } = await ping.end();
        t.diagnostic(`${sent} packets in ${seconds.toFixed(1)} s, ${lost.length} lost`);
        assert.deepEqual(lost, []);
        assert.ok(sent > 100 * seconds, `${sent} packets in ${seconds} s`);
      }
    });
  }

  test('a lease is renewed in time and survives an outage longer than itself', async (t) => {
    await using cluster = await Cluster.up(2, NETWORKS.vxlan);
    const [one, two] = cluster.nodes.values();
    assert.ok(one && two);
    for (const { name } of [one, two]) {
      await stopAgent(cluster.lab, name, 'stop');
      await startAgent(cluster.lab, name, 6);
    }
    await settled(cluster);
    const pings = pingsBetween(t, cluster, one, two);
    await sleep(8000);
    await settled(cluster);
    await killStore(cluster);
    await sleep(8000);
    await startStore(cluster.lab);
    await settled(cluster);
    await sleep(4000);
    await settled(cluster);
    for (const ping of pings) assert.deepEqual((await ping.end()).lost, []);
  });
});

function pingsBetween(t: TestContext, cluster: Cluster, from: TestNode, to: TestNode): RunningPing[] {
  const [source] = from.pods;
  const [target] = to.pods;
  assert.ok(source && target);
  const netns = cluster.podNetns(source.record);
  return target.record.addresses.map((address) => new RunningPing(t, netns, address));
}
