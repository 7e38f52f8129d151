import type { IpPool } from '../../cluster/resources.ts';
import { type Family, familyOf, type Ip } from '../../ip/address.ts';
import { addressOf, type Cidr, contains, nthIp } from '../../ip/cidr.ts';
import type { Affinity, Block, BlockStore, IpamConfig, Stored } from '../../store/ports/blocks.ts';
import { blockSize, freeOrdinal, isIdle, newBlock, type Wish } from './block.ts';
import { candidates, isCutFrom, Taken } from './candidates.ts';
import { claimBlock, settle, takeOver } from './claim.ts';
import type { Known } from './own-blocks.ts';
import { outOfAddresses, poolOf } from './pools.ts';
import { CONFLICT } from './retry.ts';

/** An address of a block as it was read: the handle's if the block still is so when it is written. */
export type FreeAddress = {
  readonly block: Stored<Block>;
  readonly ordinal: number;
  /** The handle has it already, but does not name it. */
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

/** Seconds a block of another node must have been empty before it is taken over. */
const RECLAIM_AFTER = 60;
/** Candidates to lose to others before looking again who has what. */
const MAX_CANDIDATES = 8;
/** Blocks read at a time where many are looked through: half a megabyte when they are full. */
const PAGE = 32;

/**
 * A free address of one of `pools`, all of one family; in this order of preference, each better than the next
 * for the network: 1. of an own block, rested; 2. of a new block; 3. of a block that another node left empty;
 * 4. borrowed from another node's block, rested, unless affinity is strict; 5. of an own block, released a
 * moment ago; 6. borrowed, released a moment ago. So an address rests its time unless nothing else is left.
 *
 * From 3 on, blocks of other nodes are read, some at a time and in random order: 3 and 4 are decided among
 * those read together, and only where none of them helps the next are read, up to all of the cluster.
 * CONFLICT: others were faster. Throws OUT_OF_ADDRESSES.
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
  // Blocks of a pool that was disabled are on their way out: they must not keep the node from the next pool.
  const inUse = ofFamily.filter(
    ({ value: { state, cidr } }) =>
      state === 'confirmed' && poolOf(context.pools, addressOf(cidr)) !== undefined,
  );
  const mayClaim = config.autoAllocateBlocks && inUse.length < config.maxBlocksPerHost;
  if (mayClaim) {
    const pending = ofFamily.filter(({ value }) => value.state === 'pending');
    const claimed = await claimNew(context, pending, pools);
    if (claimed === CONFLICT) return CONFLICT;
    if (claimed) return first(context, [claimed], false) ?? CONFLICT;
  }
  let unrested: FreeAddress | undefined;
  let withheld = 0;
  const others = mayClaim || !config.strictAffinity ? await blocksOfOthers(context, pools) : [];
  for await (const page of pagesOf(store, others)) {
    const theirs = page.filter(({ value }) => value.node !== node);
    const idle = mayClaim ? theirs.find((block) => isReclaimable(context, block)) : undefined;
    if (idle) {
      const taken = await takeOver(store, idle, node, context.now);
      return (taken && first(context, [taken], false)) ?? CONFLICT;
    }
    withheld += theirs.reduce((sum, block) => sum + freeCount(context, block), 0);
    const lenders = config.strictAffinity ? [] : theirs;
    const borrowed = first(context, lenders, false);
    if (borrowed) return borrowed;
    unrested ??= first(context, lenders, true);
  }
  const found = pickOwn(context, pools, true) ?? unrested;
  if (found) return found;
  const names = pools.map(({ name }) => name).join(', ');
  const strictly = config.strictAffinity ? ' and, by strictAffinity, borrow none' : '';
  if (!mayClaim) {
    const most = `this node may claim no more blocks than the ${inUse.length} it has`;
    throw outOfAddresses(family, `${most}${strictly}`);
  }
  if (withheld > 0) {
    throw outOfAddresses(
      family,
      `pool ${names} has no block left for this node; of those of other nodes ${withheld} addresses are free, and strictAffinity keeps it from borrowing`,
      'flatnet ipam configure --strict-affinity false, or add an IPPool',
    );
  }
  throw outOfAddresses(family, `pool ${names} is used up`);
}

/**
 * A free address of one of the node's own blocks that is of one of the pools. `restless`: also one just
 * released.
 */
export function pickOwn(
  context: PickContext,
  pools: readonly IpPool[],
  restless: boolean,
): FreeAddress | undefined {
  const own = context.blocks.filter(({ value }) => pools.some((pool) => contains(pool.cidr, value.cidr)));
  return first(context, own, restless);
}

/** Blocks some at a time, for who may find early what he looks for. */
export async function* pagesOf(
  store: BlockStore,
  cidrs: readonly Cidr[],
): AsyncGenerator<readonly Stored<Block>[]> {
  for (let at = 0; at < cidrs.length; at += PAGE) yield await store.blocks(cidrs.slice(at, at + PAGE));
}

/** A block of its own for the node; undefined when there is none to claim; CONFLICT: others were faster. */
async function claimNew(
  context: PickContext,
  pending: readonly Stored<Affinity>[],
  pools: readonly IpPool[],
): Promise<Stored<Block> | typeof CONFLICT | undefined> {
  const { store, node, now, reserved } = context;
  for (const affinity of pending) {
    // What a crash left of an earlier claim: taken up, or taken away.
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
      if (freeOrdinal(newBlock(cidr, node, now), wish(context, false)) === undefined) continue;
      const claimed = await claimBlock(store, node, cidr, now);
      if (claimed) return claimed;
      if (++lost === MAX_CANDIDATES) return CONFLICT;
    }
  }
  return lost > 0 ? CONFLICT : undefined;
}

/**
 * In random order, so that not all nodes borrow from the same one. Also of those that gave a block half up.
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
  return isIdle(value, context.now, RECLAIM_AFTER) && freeOrdinal(value, wish(context, false)) !== undefined;
}

function freeCount({ reserved }: PickContext, { value: { cidr, allocations } }: Stored<Block>): number {
  let count = 0;
  for (let ordinal = 0; ordinal < blockSize(cidr); ordinal++) {
    const ip = nthIp(cidr, ordinal);
    if (!allocations.has(ordinal) && !reserved.some((each) => contains(each, ip))) count++;
  }
  return count;
}

function first(
  context: PickContext,
  blocks: readonly Stored<Block>[],
  restless: boolean,
): FreeAddress | undefined {
  for (const block of blocks) {
    const ordinal = freeOrdinal(block.value, wish(context, restless));
    if (ordinal !== undefined) return { block, ordinal };
  }
  return undefined;
}

function wish({ now, config, reserved }: PickContext, restless: boolean): Wish {
  const isReserved = (ip: Ip): boolean => reserved.some((cidr) => contains(cidr, ip));
  return { now, cooldown: config.cooldown, restless, isReserved };
}

function shuffled<T>(list: readonly T[], random: () => number): T[] {
  return list
    .map((value) => ({ value, place: random() }))
    .sort((a, b) => a.place - b.place)
    .map(({ value }) => value);
}
