import type { Lab } from '../../src/lab/record/lab.ts';
import { DEFAULT_PREFIX, Layout } from '../../src/store/etcd/layout.ts';
import { withKv } from '../store/lab.ts';

/** Releases a node's subnets by revoking its lease, which deletes all its keys. */
export async function releaseLease(lab: Lab, node: string): Promise<void> {
  await withKv(lab, async (kv) => {
    const record = await kv.get(new Layout(DEFAULT_PREFIX).node(node));
    if (record && record.lease !== '0') await kv.revoke(record.lease);
  });
}
