import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { agentStatus } from '../../src/lab/machine/agent.ts';
import type { SysctlItem } from '../../src/state/kinds/sysctl.ts';
import type { Cluster, TestNode } from './cluster.ts';
import { storeDifferences } from './leases.ts';
import { unreached } from './matrix.ts';
import { actualLines, compare, expectedLines } from './oracle.ts';

/**
 * Compares an independent dump of a node's kernel with the desired state computed from the test's own facts.
 */
export async function kernelDifferences(cluster: Cluster, node: TestNode): Promise<string[]> {
  const { items } = cluster.desired(node);
  const sysctls = items.filter((item): item is SysctlItem => item.kind === 'sysctl');
  const ends = cluster.podEnds(node);
  const actual = await actualLines(cluster.netns(node), sysctls, ends);
  return compare(await expectedLines(items, ends, cluster.scratch), actual);
}

/** How long an agent may still report what is over, in milliseconds. */
const PATIENCE = 10_000;

/**
 * Waits until the kernels of all nodes and the store hold exactly what the facts require; throws after
 * `limit` milliseconds with the differences. Then checks that every pod and node reaches every pod, and that
 * no agent reports a problem.
 */
export async function settled(cluster: Cluster, limit = 15_000): Promise<void> {
  const begin = performance.now();
  await cluster.complete();
  for (;;) {
    const left = await differences(cluster);
    if (left.length === 0) break;
    if (performance.now() - begin > limit) {
      assert.fail(`not settled after ${limit} ms:\n${left.join('\n')}`);
    }
    await sleep(50);
  }
  await reachable(cluster);
  for (const node of cluster.nodes.values()) await content(cluster, node);
}

export async function reachable(cluster: Cluster): Promise<void> {
  const { pods, nodes } = cluster.endpoints();
  for (const family of cluster.families) {
    assert.deepEqual(await unreached(family, [...pods, ...nodes], pods), [], 'every pod is reachable');
  }
}

async function differences(cluster: Cluster): Promise<string[]> {
  const left = await Promise.all(
    [...cluster.nodes.values()].map(async (node) =>
      (await kernelDifferences(cluster, node)).map((line) => `${node.name}: ${line}`),
    ),
  );
  return [...left.flat(), ...(await storeDifferences(cluster)).map((line) => `store: ${line}`)];
}

/** Checks that the agent reports no problem and knows the same pods. */
async function content(cluster: Cluster, node: TestNode): Promise<void> {
  const begin = performance.now();
  let status = await agentStatus(cluster.lab, node.name);
  // After an outage the agent tries the store again at growing intervals.
  while (status && status.problems.length > 0 && performance.now() - begin < PATIENCE) {
    await sleep(50);
    status = await agentStatus(cluster.lab, node.name);
  }
  assert.ok(status, `the agent of ${node.name} answers`);
  const { ready, notReady, problems, pods } = status;
  assert.deepEqual(
    { ready, notReady, problems },
    { ready: true, notReady: undefined, problems: [] },
    node.name,
  );
  assert.deepEqual(
    pods.map(({ containerId }) => containerId).sort(),
    node.pods.map(({ record }) => record.containerId).sort(),
    `pods of ${node.name}`,
  );
}
