import type { Node } from '../../src/cluster/node.ts';
import { encodeLease } from '../../src/store/flannel/lease-value.ts';
import { type Cluster, LAYOUT } from './cluster.ts';

/** Writes the lease of a node that exists only in the store, replacing the one of `was`. */
export async function putForeign(cluster: Cluster, node: Node, was?: Node): Promise<void> {
  await cluster.store(async (kv) => {
    const success = [{ op: 'put', key: LAYOUT.lease(node.subnets), value: encodeLease(node) }] as const;
    const gone = was && LAYOUT.lease(was.subnets);
    const remove = gone && gone !== LAYOUT.lease(node.subnets) ? [{ op: 'delete', key: gone } as const] : [];
    await kv.txn({ compare: [], success: [...remove, ...success] });
  });
  if (was) cluster.foreign.delete(LAYOUT.lease(was.subnets));
  cluster.foreign.set(LAYOUT.lease(node.subnets), node);
}

export async function deleteForeign(cluster: Cluster, node: Node): Promise<void> {
  await cluster.store((kv) => kv.delete(LAYOUT.lease(node.subnets)));
  cluster.foreign.delete(LAYOUT.lease(node.subnets));
}

/** Compares the store with the facts: each node's lease must exist, byte for byte, and no other. */
export async function storeDifferences(cluster: Cluster): Promise<string[]> {
  return cluster.store(async (kv) => {
    const { items } = await kv.list(LAYOUT.leases);
    const nodes = [
      ...[...cluster.nodes.values()].map((node) => cluster.published(node)),
      ...cluster.foreign.values(),
    ];
    const wanted = new Map(nodes.map((node) => [LAYOUT.lease(node.subnets), encodeLease(node)]));
    const found = new Map(items.map(({ key, value }) => [key, value]));
    return [
      ...[...wanted].filter(([key, value]) => found.get(key) !== value).map((each) => `- ${each.join(' ')}`),
      ...[...found].filter(([key, value]) => wanted.get(key) !== value).map((each) => `+ ${each.join(' ')}`),
    ];
  });
}
