import { type Cidr, overlaps } from '../../ip/cidr.ts';
import type { Affinity, Block, BlockStore, Stored } from '../../store/ports/blocks.ts';
import { fence, handOver, newBlock } from './block.ts';

// Objects change one at a time, in Calico's order: announce (a pending affinity), then the block, then
// `confirmed`; and back the same way: `pending`, the block, the affinity. From this follow, whoever is killed
// between any two steps:
//
// 1. Whose a block is, only the block says: its creation and its hand-over are single compare-and-swaps.
// 2. A block is covered by an affinity of its node all its life, so that affinities alone tell what is taken.
// 3. A confirmed affinity is that of the block's node, except right after a hand-over, while the block is
//    empty and the new node takes nothing from it: it may once it has removed the former node's affinity and
//    confirmed its own.
//
// So the two nodes that advertise one block never both have pods in it. What a crash leaves is resolved by
// `settle`, by the node's next claim, or by `forget` once the node is gone.

/**
 * Claims the block; undefined when another node has it, or one that overlaps it, or is faster. Resumes a
 * claim or a hand-over that was cut short.
 *
 * Two nodes that want the same block are kept apart by its creation. Two that want a /26 and the /24 around
 * it, as can be while a pool is made anew with another blockSize and not every node knows, are kept apart by
 * their announcements: each announces before it looks, so at least the later one sees the other, and whoever
 * sees another gives up.
 */
export async function claimBlock(
  store: BlockStore,
  node: string,
  cidr: Cidr,
  now: number,
): Promise<Stored<Block> | undefined> {
  const announced = await store.announce(node, cidr);
  const [affinities, [block]] = await Promise.all([store.affinities(), store.blocks([cidr])]);
  if (block?.value.node === node) return takeUp(store, announced, block, affinities);
  // Confirmed without a block, or with somebody else's: only an edited or restored store says so.
  const mine =
    announced.value.state === 'pending' ? announced : await store.setAffinity(announced, 'pending');
  if (!mine) return undefined;
  const rivals = affinities.filter(({ value }) => value.cidr !== cidr && overlaps(value.cidr, cidr));
  const created = block || rivals.length > 0 ? undefined : await store.createBlock(newBlock(cidr, node, now));
  if (created && (await store.setAffinity(mine, 'confirmed'))) return created;
  // Somebody removed the announcement meanwhile: the block must not stay uncovered; the next claim resumes
  // from here.
  if (created) await store.announce(node, cidr);
  else await withdraw(store, mine);
  return undefined;
}

/** Takes over another node's empty block; undefined when it has changed. */
export async function takeOver(
  store: BlockStore,
  block: Stored<Block>,
  node: string,
  now: number,
): Promise<Stored<Block> | undefined> {
  const { cidr } = block.value;
  const announced = await store.announce(node, cidr);
  const mine =
    announced.value.state === 'pending' ? announced : await store.setAffinity(announced, 'pending');
  if (!mine) return undefined;
  const taken = await store.replaceBlock(block, handOver(block.value, node, now));
  if (taken)
    return (await confirm(store, mine, await store.affinities(), block.value.node)) ? taken : undefined;
  await withdraw(store, mine);
  return undefined;
}

/** Gives an empty block back. Returns false when it has changed; it is the node's as before then. */
export async function dropBlock(store: BlockStore, block: Stored<Block>): Promise<boolean> {
  const { node, cidr } = block.value;
  const affinity = (await store.affinities(node)).find(({ value }) => value.cidr === cidr);
  // Not advertised any more before it is gone.
  const pending =
    affinity?.value.state === 'confirmed' ? await store.setAffinity(affinity, 'pending') : affinity;
  if (affinity && !pending) return false;
  if (await store.deleteBlock(block)) {
    if (pending) await withdraw(store, pending);
    return true;
  }
  if (pending && affinity?.value.state === 'confirmed') await store.setAffinity(pending, 'confirmed');
  return false;
}

/**
 * Finishes what a crash of this affinity's node left half done: without a block, or with one that is another
 * node's by now, the affinity goes; a block that is the node's is confirmed. Only for a node that is not
 * claiming anything meanwhile.
 */
export async function settle(store: BlockStore, affinity: Stored<Affinity>): Promise<void> {
  const { node, cidr, state } = affinity.value;
  const [block] = await store.blocks([cidr]);
  if (block?.value.node !== node) await withdraw(store, affinity);
  else if (state === 'pending') await takeUp(store, affinity, block, await store.affinities());
}

/**
 * Takes an announcement back. A creation whose answer was lost may arrive even later: then the block is
 * covered again. Covers a block that was found without its owner's affinity as well, which the order here
 * never leaves.
 */
export async function withdraw(store: BlockStore, affinity: Stored<Affinity>): Promise<boolean> {
  const { cidr } = affinity.value;
  if (!(await store.deleteAffinity(affinity))) return false;
  const [block] = await store.blocks([cidr]);
  if (block) await store.announce(block.value.node, cidr);
  return true;
}

/**
 * The block is the node's already; only the rest of the claim was missing. Undefined when something has
 * changed.
 */
async function takeUp(
  store: BlockStore,
  mine: Stored<Affinity>,
  block: Stored<Block>,
  affinities: readonly Stored<Affinity>[],
): Promise<Stored<Block> | undefined> {
  const isAlone = affinities.every(
    ({ value }) => value.cidr !== block.value.cidr || value.node === mine.value.node,
  );
  if (mine.value.state === 'confirmed' && isAlone) return block;
  // Who was giving the block up, and is still about to delete it, comes too late from here on.
  const kept = await store.replaceBlock(block, fence(block.value));
  return kept && (await confirm(store, mine, affinities)) ? kept : undefined;
}

/**
 * The block is `mine`'s node's: other nodes' confirmed affinities are stale, as is any of `former`. They go
 * first, so that no two are confirmed.
 */
async function confirm(
  store: BlockStore,
  mine: Stored<Affinity>,
  affinities: readonly Stored<Affinity>[],
  former?: string,
): Promise<boolean> {
  const { node, cidr } = mine.value;
  const others = affinities.filter(({ value }) => value.cidr === cidr && value.node !== node);
  const stale = others.filter(({ value }) => value.state === 'confirmed' || value.node === former);
  for (const affinity of stale) if (!(await store.deleteAffinity(affinity))) return false;
  return mine.value.state === 'confirmed' || (await store.setAffinity(mine, 'confirmed')) !== undefined;
}
