import type { IpPool } from '../../cluster/resources.ts';
import { type Family, familyOf, type Ip } from '../../ip/address.ts';
import { addressOf, type Cidr, contains, nthIp } from '../../ip/cidr.ts';
import type { Affinity, Block, BlockStore, IpamConfig, Stored } from '../../store/ports/blocks.ts';
import { type AddressCriteria, blockSize, freeOrdinal, isIdle, newBlock } from './block.ts';
import { candidates, isCutFrom, Taken } from './candidates.ts';
import { claimBlock, settle, takeOver } from './claim.ts';
import type { Known } from './own-blocks.ts';
import { outOfAddresses, poolOf } from './pools.ts';
import { CONFLICT } from './retry.ts';

/** A free address in a block as read; the handle gets it if the block is unchanged when written. */
export type FreeAddress = {
  readonly block: Stored<Block>;
  readonly ordinal: number;
  /** The handle already holds it but does not list it. */
  readonly isHeld?: boolean;
};

export type PickContext = Pick<Known, 'affinities' | 'blocks'> & {
  readonly store: BlockStore;
  readonly config: IpamConfig;
  readonly node: string;
  readonly handle: string;
  readonly pools: readonly IpPool[];
  readonly reserved: readonly Cidr[];
  /** Seconds since 1970. */
  readonly now: number;
  readonly random: () => number;
};

/** Seconds for which another node's block must have been empty before it can be taken over. */
const RECLAIM_AFTER = 60;
/** Number of candidates lost to other nodes before the affinities are read again. */
const MAX_CANDIDATES = 8;
/** Blocks read at a time when searching many: half a megabyte when they are full. */
const PAGE = 32;

/**
 * Picks a free address from `pools`, all of one family, in this order of preference, best for the network
 * first: 1. a rested address of one of the node's own blocks; 2. one of a new block; 3. one of a block that
 * another node left empty; 4. a rested one borrowed from another node's block, unless strictAffinity is set;
 * 5. a recently released one of an own block; 6. a recently released one, borrowed. So an address always
 * completes its cooldown unless nothing else is left.
 *
 * From step 3 on, other nodes' blocks are read page by page in random order. Steps 3 and 4 are decided within
 * each page; the next page is read only if neither succeeds, up to all blocks of the cluster. Returns
 * CONFLICT when other nodes were faster. Throws OUT_OF_ADDRESSES.
 */
export async function pickAny(
  context: PickContext,
  family: Family,
  pools: readonly IpPool[],
): Promise<FreeAddress | typeof CONFLICT> {
  if (pools.length === 0) throw outOfAddresses(family, 'no pool is enabled for this node and pod');
  const { store, node, config } = context;
  const rested = pickOwn(context, pools, false);
  if (rested) return rested;

  const ofFamily = context.affinities.filter(({ value }) => familyOf(value.cidr) === family);
  // Blocks of a disabled pool are being phased out and must not keep the node from claiming in another pool.
  const inUse = ofFamily.filter(
    ({ value: { state, cidr } }) =>
      state === 'confirmed' && poolOf(context.pools, addressOf(cidr)) !== undefined,
  );
  const mayClaim = config.autoAllocateBlocks && inUse.length < config.maxBlocksPerHost;
  if (mayClaim) {
    const pending = ofFamily.filter(({ value }) => value.state === 'pending');
    const claimed = await claimNew(context, pending, pools);
    if (claimed === CONFLICT) return CONFLICT;
    if (claimed) return firstFree(context, [claimed], false) ?? CONFLICT;
  }
  let unrested: FreeAddress | undefined;
  let withheld = 0;
  const others = mayClaim || !config.strictAffinity ? await blocksOfOthers(context, pools) : [];
  for await (const page of pagesOf(store, others)) {
    const theirs = page.filter(({ value }) => value.node !== node);
    const idle = mayClaim ? theirs.find((block) => isReclaimable(context, block)) : undefined;
    if (idle) {
      const taken = await takeOver(store, idle, node, context.now);
      return (taken && firstFree(context, [taken], false)) ?? CONFLICT;
    }
    withheld += theirs.reduce((sum, block) => sum + freeCount(context, block), 0);
    const lenders = config.strictAffinity ? [] : theirs;
    const borrowed = firstFree(context, lenders, false);
    if (borrowed) return borrowed;
    unrested ??= firstFree(context, lenders, true);
  }
  const found = pickOwn(context, pools, true) ?? unrested;
  if (found) return found;
  const names = pools.map(({ name }) => name).join(', ');
  const strictly = config.strictAffinity ? ', and strictAffinity keeps it from borrowing' : '';
  if (!mayClaim) {
    const limit = `this node may claim no more than the ${inUse.length} blocks it has`;
    throw outOfAddresses(family, `${limit}${strictly}`);
  }
  if (withheld > 0) {
    throw outOfAddresses(
      family,
      `pool ${names} has no block left for this node; ${withheld} addresses are free in other nodes' blocks, but strictAffinity keeps it from borrowing`,
      'flatnet ipam configure --strict-affinity false, or add an IPPool',
    );
  }
  throw outOfAddresses(family, `pool ${names} is exhausted`);
}

/**
 * Picks a free address from the node's own blocks within the pools. `allowResting`: accept one that was just
 * released.
 */
export function pickOwn(
  context: PickContext,
  pools: readonly IpPool[],
  allowResting: boolean,
): FreeAddress | undefined {
  const own = context.blocks.filter(({ value }) => pools.some((pool) => contains(pool.cidr, value.cidr)));
  return firstFree(context, own, allowResting);
}

/** Yields the blocks page by page, so that the caller can stop early. */
export async function* pagesOf(
  store: BlockStore,
  cidrs: readonly Cidr[],
): AsyncGenerator<readonly Stored<Block>[]> {
  for (let at = 0; at < cidrs.length; at += PAGE) yield await store.blocks(cidrs.slice(at, at + PAGE));
}

/** Claims a block for the node; undefined when none is available; CONFLICT when other nodes were faster. */
async function claimNew(
  context: PickContext,
  pending: readonly Stored<Affinity>[],
  pools: readonly IpPool[],
): Promise<Stored<Block> | typeof CONFLICT | undefined> {
  const { store, node, now, reserved } = context;
  for (const affinity of pending) {
    // Left by a crash during an earlier claim: resume it or clean it up.
    const { cidr } = affinity.value;
    const isWanted = pools.some((pool) => isCutFrom(pool, cidr));
    const claimed = isWanted ? await claimBlock(store, node, cidr, now) : await settle(store, affinity);
    if (claimed) return claimed;
  }
  const taken = new Taken((await store.affinities()).map(({ value }) => value.cidr));
  let lost = 0;
  for (const pool of pools) {
    for (const cidr of candidates(pool, node, reserved)) {
      if (taken.overlaps(cidr)) continue;
      if (freeOrdinal(newBlock(cidr, node, now), criteria(context, false)) === undefined) continue;
      const claimed = await claimBlock(store, node, cidr, now);
      if (claimed) return claimed;
      if (++lost === MAX_CANDIDATES) return CONFLICT;
    }
  }
  return lost > 0 ? CONFLICT : undefined;
}

/**
 * Lists other nodes' blocks in random order, so that nodes don't all borrow from the same one. Includes
 * blocks being given back.
 */
async function blocksOfOthers(
  { store, node, random }: PickContext,
  pools: readonly IpPool[],
): Promise<readonly Cidr[]> {
  const affinities = await store.affinities();
  const theirs = affinities.filter(
    ({ value }) => value.node !== node && pools.some((pool) => contains(pool.cidr, value.cidr)),
  );
  return shuffled([...new Set(theirs.map(({ value }) => value.cidr))], random);
}

function isReclaimable(context: PickContext, { value }: Stored<Block>): boolean {
  return (
    isIdle(value, context.now, RECLAIM_AFTER) && freeOrdinal(value, criteria(context, false)) !== undefined
  );
}

function freeCount({ reserved }: PickContext, { value: { cidr, allocations } }: Stored<Block>): number {
  let count = 0;
  for (let ordinal = 0; ordinal < blockSize(cidr); ordinal++) {
    const ip = nthIp(cidr, ordinal);
    if (!allocations.has(ordinal) && !reserved.some((each) => contains(each, ip))) count++;
  }
  return count;
}

function firstFree(
  context: PickContext,
  blocks: readonly Stored<Block>[],
  allowResting: boolean,
): FreeAddress | undefined {
  for (const block of blocks) {
    const ordinal = freeOrdinal(block.value, criteria(context, allowResting));
    if (ordinal !== undefined) return { block, ordinal };
  }
  return undefined;
}

function criteria({ now, config, reserved }: PickContext, allowResting: boolean): AddressCriteria {
  const isReserved = (ip: Ip): boolean => reserved.some((cidr) => contains(cidr, ip));
  return { now, cooldown: config.cooldown, allowResting, isReserved };
}

function shuffled<T>(list: readonly T[], random: () => number): T[] {
  return list
    .map((value) => ({ value, place: random() }))
    .sort((a, b) => a.place - b.place)
    .map(({ value }) => value);
}
