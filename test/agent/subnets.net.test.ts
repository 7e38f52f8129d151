import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { agentStatus, startAgent, stopAgent } from '../../src/lab/machine/agent.ts';
import { storeProcess } from '../../src/lab/machine/store.ts';
import { signalProcess } from '../../src/linux/process.ts';
import { Cluster, type TestNode } from './cluster.ts';
import { Foreigners } from './foreigners.ts';
import { putForeign } from './leases.ts';
import { NETWORKS } from './networks.ts';
import { settled } from './settle.ts';

/**
 * Waits until the node is ready with subnets other than `lost`; returns how often it was seen ready with
 * those.
 */
async function readyElsewhere(cluster: Cluster, node: TestNode, lost: readonly string[]): Promise<number> {
  let wrong = 0;
  for (let look = 0; look < 1000; look++) {
    const status = await agentStatus(cluster.lab, node.name);
    if (status?.ready) {
      if (`${status.subnets}` !== `${lost}`) return wrong;
      wrong++;
    }
    await sleep(5);
  }
  assert.fail('not ready elsewhere');
}

test('no pod gets an address from subnets that another node took while the agent was down', async () => {
  await using cluster = await Cluster.up(2, NETWORKS['host-gw']);
  const [node] = cluster.nodes.values();
  assert.ok(node?.subnets);
  const { subnets } = node;
  await stopAgent(cluster.lab, node.name, 'kill');
  for (const pod of [...node.pods]) await cluster.deletePod(node, pod);
  await cluster.endLease(node);
  await putForeign(cluster, { ...new Foreigners(cluster).create(), subnets });
  // The store may be slow to answer.
  const store = storeProcess(cluster.lab);
  assert.ok(store);
  signalProcess(store, 'SIGSTOP');
  setTimeout(() => signalProcess(store, 'SIGCONT'), 1500);
  await startAgent(cluster.lab, node.name);
  assert.equal(
    await readyElsewhere(cluster, node, subnets),
    0,
    'a pod could have got an address of another node',
  );
  await cluster.wantPod(node);
  await settled(cluster);
});

test('subnets that another node has taken are given up, and new ones claimed', async () => {
  await using cluster = await Cluster.up(2, NETWORKS['host-gw']);
  const [node] = cluster.nodes.values();
  assert.ok(node?.subnets);
  const { subnets } = node;
  for (const pod of [...node.pods]) await cluster.deletePod(node, pod);
  node.subnets = undefined;
  await putForeign(cluster, { ...new Foreigners(cluster).create(), subnets });
  await readyElsewhere(cluster, node, subnets);
  await cluster.wantPod(node);
  await settled(cluster);
});
