import type { Ip } from '../../ip/address.ts';
import { type Cidr, nthIp } from '../../ip/cidr.ts';
import { encodeBlock, encodeHandle, type Handle } from '../../store/etcd/block-codec.ts';
import type { Operation } from '../../store/kv/kv.ts';
import { type Allocation, give } from './block.ts';
import { type IpamRecords, unchanged } from './records.ts';
import { CONFLICT } from './retry.ts';

export type What = {
  readonly handle: string;
  /** Blocks to look into besides those that the handle names. */
  readonly blocks?: readonly Cidr[];
  /** Which of the handle's addresses; all unless told. */
  readonly which?: (ip: Ip, allocation: Allocation) => boolean;
};

/**
 * Frees addresses of a handle; one attempt. The blocks and the handle change in one transaction, so that no
 * crash leaves a handle without its addresses or the other way round. Written one after the other, as a store
 * without transactions needs it, either order leaks.
 */
export async function freeOnce(
  records: IpamRecords,
  { handle: id, blocks = [], which = () => true }: What,
  now: number,
): Promise<readonly Ip[] | typeof CONFLICT> {
  const { handle } = await records.handle(id);
  const cidrs = new Set([...handle.value.addresses.map(({ block }) => block), ...blocks]);
  const freed: Ip[] = [];
  const kept: Handle['addresses'][number][] = [];
  const changes: Operation[] = [];
  const read = await records.blocks([...cidrs]);
  for (const { key, value: block } of read) {
    const ordinals: number[] = [];
    for (const [ordinal, allocation] of block.allocations) {
      if (allocation.handle !== id) continue;
      const ip = nthIp(block.cidr, ordinal);
      if (which(ip, allocation)) {
        ordinals.push(ordinal);
        freed.push(ip);
      } else kept.push({ ip, block: block.cidr });
    }
    if (ordinals.length > 0) changes.push({ op: 'put', key, value: encodeBlock(give(block, ordinals, now)) });
  }
  if (kept.length > 0) changes.push({ op: 'put', key: handle.key, value: encodeHandle({ addresses: kept }) });
  else if (handle.revision > 0) changes.push({ op: 'delete', key: handle.key });
  const isRight = freed.length === 0 && kept.length === handle.value.addresses.length;
  if (isRight) return freed;
  const done = await records.commit([unchanged(handle), ...read.map(unchanged)], changes);
  return done ? freed : CONFLICT;
}
