import { type Cidr, overlaps } from '../../ip/cidr.ts';
import type { Affinity, Block, BlockStore, Stored } from '../../store/ports/blocks.ts';
import { fence, handOver, newBlock } from './block.ts';

// Objects change one at a time, in Calico's order. To claim: announce (a pending affinity), create the block,
// set the affinity to `confirmed`. To release, in reverse: `pending`, delete the block, delete the affinity.
// This guarantees, even if a process is killed between any two steps:
//
// 1. The block alone determines its node: its creation and its hand-over are single compare-and-swaps.
// 2. An affinity of its node covers a block throughout its life, so the affinities alone show what is taken.
// 3. A confirmed affinity belongs to the block's node, except right after a hand-over. The block is empty
//    then, and the new node allocates nothing from it until it has removed the former node's affinity and
//    confirmed its own.
//
// So even when two nodes advertise the same block, they never both have pods in it. States left by a crash
// are resolved by `settle`, by the node's next claim, or by `forget` once the node is gone.

/**
 * Claims the block; undefined when another node has it or an overlapping one, or is faster. Resumes an
 * interrupted claim or hand-over.
 *
 * If two nodes want the same block, only one succeeds in creating it. Two nodes may also want a /26 and the
 * /24 around it, while a pool is being recreated with another blockSize and not every node knows. Their
 * announcements resolve that: each node announces before it checks, so at least the later one sees the other,
 * and a node that sees a rival gives up.
 */
export async function claimBlock(
  store: BlockStore,
  node: string,
  cidr: Cidr,
  now: number,
): Promise<Stored<Block> | undefined> {
  const announced = await store.announce(node, cidr);
  const [affinities, [block]] = await Promise.all([store.affinities(), store.blocks([cidr])]);
  if (block?.value.node === node) return completeClaim(store, announced, block, affinities);
  // Confirmed without a block, or with another node's: happens only in an edited or restored store.
  const mine =
    announced.value.state === 'pending' ? announced : await store.setAffinity(announced, 'pending');
  if (!mine) return undefined;
  const rivals = affinities.filter(({ value }) => value.cidr !== cidr && overlaps(value.cidr, cidr));
  const created = block || rivals.length > 0 ? undefined : await store.createBlock(newBlock(cidr, node, now));
  if (created && (await store.setAffinity(mine, 'confirmed'))) return created;
  // The announcement was removed in the meantime. The block must not stay uncovered, so announce again; the
  // next claim resumes from here.
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

/** Releases an empty block. Returns false when the block has changed; the node keeps it then. */
export async function dropBlock(store: BlockStore, block: Stored<Block>): Promise<boolean> {
  const { node, cidr } = block.value;
  const affinity = (await store.affinities(node)).find(({ value }) => value.cidr === cidr);
  // Stop advertising the block before deleting it.
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
 * Finishes what a crash of the affinity's node left incomplete: removes the affinity if there is no block or
 * the block belongs to another node, otherwise confirms it. Only for nodes that are not claiming blocks at
 * the same time.
 */
export async function settle(store: BlockStore, affinity: Stored<Affinity>): Promise<void> {
  const { node, cidr, state } = affinity.value;
  const [block] = await store.blocks([cidr]);
  if (block?.value.node !== node) await withdraw(store, affinity);
  else if (state === 'pending') await completeClaim(store, affinity, block, await store.affinities());
}

/**
 * Withdraws an announcement. If a create request whose reply was lost takes effect even later, covers that
 * block again. Also covers a block found without its owner's affinity, a state this order of steps never
 * produces.
 */
export async function withdraw(store: BlockStore, affinity: Stored<Affinity>): Promise<boolean> {
  const { cidr } = affinity.value;
  if (!(await store.deleteAffinity(affinity))) return false;
  const [block] = await store.blocks([cidr]);
  if (block) await store.announce(block.value.node, cidr);
  return true;
}

/** Completes the claim to a block the node already owns. Undefined when something has changed. */
async function completeClaim(
  store: BlockStore,
  mine: Stored<Affinity>,
  block: Stored<Block>,
  affinities: readonly Stored<Affinity>[],
): Promise<Stored<Block> | undefined> {
  const isAlone = affinities.every(
    ({ value }) => value.cidr !== block.value.cidr || value.node === mine.value.node,
  );
  if (mine.value.state === 'confirmed' && isAlone) return block;
  // From here on, a process that was releasing the block can no longer delete it.
  const kept = await store.replaceBlock(block, fence(block.value));
  return kept && (await confirm(store, mine, affinities)) ? kept : undefined;
}

/**
 * Confirms the affinity of the block's node. Other nodes' confirmed affinities are stale, as is any affinity
 * of `former`; they are deleted first, so that two are never confirmed at once.
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
