import { withStore } from '../../src/lab/machine/store.ts';
import type { Lab } from '../../src/lab/record/lab.ts';
import { DEFAULT_PREFIX, Layout } from '../../src/store/etcd/layout.ts';

/** Gives a node's subnets back: its lease ends, and all its keys with it. */
export async function releaseLease(lab: Lab, node: string): Promise<void> {
  await withStore(lab, async (kv) => {
    const record = await kv.get(new Layout(DEFAULT_PREFIX).node(node));
    if (record && record.lease !== '0') await kv.revoke(record.lease);
  });
}
