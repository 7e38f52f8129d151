import type { Cidr } from '../../ip/cidr.ts';
import { encodeBlock } from '../../store/etcd/block-codec.ts';
import { type Block, handOver, newBlock } from './block.ts';
import { Taken } from './candidates.ts';
import { type Affinity, type IpamRecords, type Stored, unchanged } from './records.ts';

/**
 * Claims a block for the node in two phases; false when another node has it, or one that overlaps it, or is
 * faster.
 *
 * First the node announces it (`pending`), then it looks who else has announced. The block's own key keeps
 * apart two nodes that want the same block, but not two that want a /26 and the /24 around it, as can be
 * while a pool is made anew with another blockSize and not every node knows: of such, each has announced
 * before it looks, so that at least the later one sees the earlier and gives up. Then the block and
 * `confirmed` are written in one transaction: no moment has a block without an owner or a confirmed owner
 * without a block. A crash between the phases leaves a pending affinity, which nobody advertises, and which
 * the node's next claim takes up or takes away.
 */
export async function claimBlock(
  records: IpamRecords,
  node: string,
  cidr: Cidr,
  now: number,
): Promise<boolean> {
  const { keys } = records;
  const key = keys.affinity(node, cidr);
  await records.commit([unchanged({ key, revision: 0 })], [{ op: 'put', key, value: 'pending' }]);
  const affinities = await records.affinities();
  const mine = affinities.find((affinity) => affinity.key === key);
  if (!mine || mine.value === 'confirmed') return mine !== undefined;
  const rivals = affinities.filter(
    (other) => other !== mine && (other.value === 'confirmed' || other.announced < mine.announced),
  );
  if (!new Taken(rivals.map((rival) => rival.cidr)).overlaps(cidr)) {
    const block = keys.block(cidr);
    const done = await records.commit(
      [unchanged(mine), unchanged({ key: block, revision: 0 })],
      [
        { op: 'put', key: block, value: encodeBlock(newBlock(cidr, node, now)) },
        { op: 'put', key, value: 'confirmed' },
      ],
    );
    if (done) return true;
  }
  await withdraw(records, mine);
  return false;
}

/** Takes an announcement back; whether it still stood. */
export function withdraw(records: IpamRecords, pending: Affinity): Promise<boolean> {
  return records.commit([unchanged(pending)], [{ op: 'delete', key: pending.key }]);
}

/**
 * Takes another node's block over, empty as it is, in one step: it always has exactly one owner. False when
 * it changed.
 */
export async function takeOver(
  records: IpamRecords,
  { key, revision, value }: Stored<Block>,
  node: string,
  now: number,
): Promise<boolean> {
  const { keys } = records;
  return records.commit(
    [unchanged({ key, revision })],
    [
      { op: 'put', key, value: encodeBlock(handOver(value, node, now)) },
      { op: 'delete', key: keys.affinity(value.node, value.cidr) },
      { op: 'put', key: keys.affinity(node, value.cidr), value: 'confirmed' },
    ],
  );
}

/** Gives a block back together with its node's claim. False when it changed meanwhile. */
export async function dropBlock(
  records: IpamRecords,
  { key, revision, value }: Stored<Block>,
): Promise<boolean> {
  return records.commit(
    [unchanged({ key, revision })],
    [
      { op: 'delete', key },
      { op: 'delete', key: records.keys.affinity(value.node, value.cidr) },
    ],
  );
}
