import assert from 'node:assert/strict';
import type { TestContext } from 'node:test';
import { isDeepStrictEqual } from 'node:util';
import { eventually } from '../../store/servers.ts';
import type { KubeletCluster, Pod } from './cluster.ts';
import { leftovers } from './leftovers.ts';
import type { KubeletNode } from './node.ts';
import { assertAllReachAll, assertNoneLost, pingsBetween } from './traffic.ts';
import { deployment } from './workload.ts';

/** Waits until no node has a problem, something to change, or what is left of pods. */
export async function assertAllIsWell(cluster: KubeletCluster): Promise<void> {
  for (const node of cluster.nodes) {
    let last: object | undefined;
    const isWell = async (): Promise<boolean> => {
      const { problems } = await node.status();
      const [diff, left] = [await node.diff(), await leftovers(node)];
      last = { problems, diff, left };
      return isDeepStrictEqual(last, WELL);
    };
    await eventually(isWell, 60_000).catch(() => assert.deepEqual(last, WELL, node.name));
  }
}

const WELL = { problems: [], diff: '[]', left: [] };

/** Restarts the agents one by one, and kills one, while pods ping each other: no packet may be lost. */
export async function upgradeAgents(
  t: Pick<TestContext, 'after'>,
  cluster: KubeletCluster,
  pods: readonly Pod[],
): Promise<void> {
  const pings = await pingsBetween(t, cluster, pods);
  for (const node of cluster.nodes) await node.restartAgent();
  await cluster.node('node1').restartAgent('SIGKILL');
  await assertNoneLost(pings);
  await assertAllIsWell(cluster);
}

/**
 * Cuts a node's power and starts it again. Returns the pods of the deployment `web`, `pods` before, once
 * those of the node have other addresses; all must reach each other.
 */
export async function losePower(
  cluster: KubeletCluster,
  node: KubeletNode,
  pods: readonly Pod[],
): Promise<readonly Pod[]> {
  await node.crash();
  await node.boot();
  await node.untilReady();
  const before = addressesOn(node, pods);
  const now = await eventually(async () => {
    const web = await cluster.pods('web', pods.length);
    if (web.some(({ ips }) => ips.some((ip) => before.includes(ip)))) return undefined;
    // Kubelet tells addresses a moment after the rest.
    if (web.some(({ ips }) => ips.length !== pods[0]?.ips.length)) return undefined;
    // Containers of before the loss may still be said to run.
    const run = web.map(({ name }) =>
      cluster.exec(name, 'true').then(
        () => true,
        () => false,
      ),
    );
    return (await Promise.all(run)).every(Boolean) && web;
  }, 120_000);
  await assertAllReachAll(cluster, now);
  await assertAllIsWell(cluster);
  return now;
}

/** The addresses of those of the pods that are on a node. */
export function addressesOn(node: KubeletNode, pods: readonly Pod[]): readonly string[] {
  return pods.flatMap((pod) => (pod.node === node.name ? pod.ips : []));
}

/** Scales the deployment `web` to `most` pods and back to three, which are returned: nothing may be left. */
export async function comeAndGo(cluster: KubeletCluster, most: number): Promise<readonly Pod[]> {
  await cluster.plane.apply(deployment('web', most));
  await cluster.pods('web', most);
  await cluster.plane.apply(deployment('web', 3));
  const web = await cluster.pods('web', 3);
  await eventually(async () => {
    const all = await Promise.all(cluster.nodes.map((node) => node.status()));
    return all.flatMap(({ pods }) => pods).length === 3;
  });
  await assertAllIsWell(cluster);
  return web;
}
