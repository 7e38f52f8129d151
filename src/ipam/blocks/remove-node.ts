import type { Ip } from '../../ip/address.ts';
import type { Cidr } from '../../ip/cidr.ts';
import type { IpamKeys } from '../../store/etcd/block-keys.ts';
import type { Kv } from '../../store/kv/kv.ts';
import { dropBlock, withdraw } from './claim.ts';
import { freeOnce } from './free.ts';
import { handlesOf } from './leak.ts';
import { IpamRecords } from './records.ts';
import { CONFLICT, retrying } from './retry.ts';

/** What a node that is gone gave back; `kept`: blocks that other nodes' pods still have addresses of. */
export type Removed = {
  readonly released: readonly Ip[];
  readonly blocks: readonly Cidr[];
  readonly kept: readonly Cidr[];
};

/**
 * Gives back all that a node had which left the cluster for good. Blocks that others borrow from stay its
 * own, so that each block always has one owner, and are lent on, but nobody advertises them: call it again
 * later for those. Any node may call it, and several at once.
 */
export async function removeNode(kv: Kv, keys: IpamKeys, node: string, clock = Date.now): Promise<Removed> {
  const records = new IpamRecords(kv, keys);
  const all = (await records.allBlocks()).map(({ value }) => value);
  const released: Ip[] = [];
  for (const { handle, addresses } of handlesOf(node, all)) {
    const what = {
      handle,
      blocks: addresses.map(({ block }) => block),
      which: (_: Ip, owner: { readonly node: string }): boolean => owner.node === node,
    };
    const free = (): ReturnType<typeof freeOnce> => freeOnce(records, what, clock() / 1000);
    released.push(...(await retrying('node remove', Math.random, free)));
  }
  const blocks: Cidr[] = [];
  const kept: Cidr[] = [];
  for (const { cidr } of await records.affinities(node)) {
    const outcome = await retrying('node remove', Math.random, () => giveUp(records, node, cidr));
    if (outcome === 'dropped') blocks.push(cidr);
    if (outcome === 'in use') kept.push(cidr);
  }
  return { released, blocks, kept };
}

type Outcome = 'dropped' | 'in use' | 'gone';

async function giveUp(records: IpamRecords, node: string, cidr: Cidr): Promise<Outcome | typeof CONFLICT> {
  const affinity = (await records.affinities(node)).find((each) => each.cidr === cidr);
  if (!affinity) return 'gone';
  if (affinity.value === 'pending') return (await withdraw(records, affinity)) ? 'gone' : CONFLICT;
  const [block] = await records.blocks([cidr]);
  if (block?.value.node !== node) return CONFLICT;
  if (block.value.allocations.size > 0) return 'in use';
  return (await dropBlock(records, block)) ? 'dropped' : CONFLICT;
}
