import type { Document } from '../../cluster/calico/document.ts';
import { readSnapshot } from '../../ipam/blocks/snapshot.ts';
import { type BlockUsage, usage } from '../../ipam/blocks/usage.ts';
import { IpamKeys } from '../../store/etcd/block-keys.ts';
import { DEFAULT_PREFIX } from '../../store/etcd/layout.ts';
import { ResourceStore } from '../../store/etcd/resource-store.ts';
import type { Lab } from '../record/lab.ts';
import { withStore } from './store.ts';

/** Like `flatnet apply`, one after the other. */
export async function publishResources(lab: Lab, documents: readonly Document[]): Promise<void> {
  await withStore(lab, async (kv) => {
    const resources = new ResourceStore(kv, DEFAULT_PREFIX);
    for (const document of documents) await resources.apply(document);
  });
}

/** Every block there is, with its owner, in the order of the nodes' names. */
export async function readBlocks(lab: Lab): Promise<BlockUsage[]> {
  return withStore(lab, async (kv) => {
    const snapshot = await readSnapshot(kv, new IpamKeys(DEFAULT_PREFIX));
    return usage(snapshot, [])
      .flatMap(({ blocks }) => blocks)
      .sort((a, b) => a.node.localeCompare(b.node, 'en', { numeric: true }));
  });
}
