import type { IpPool } from '../../cluster/resources.ts';
import { FlatnetError } from '../../error.ts';
import { type Family, familyOf, type Ip } from '../../ip/address.ts';
import { addressOf, type Cidr, cidrOf, contains, nthIp } from '../../ip/cidr.ts';
import type { IpamConfig } from '../../store/etcd/block-codec.ts';
import { type Block, blockSize, freeOrdinal, isIdle, newBlock, ordinalOf, type Wish } from './block.ts';
import { candidates, isCutFrom, Taken } from './candidates.ts';
import { claimBlock, takeOver, withdraw } from './claim.ts';
import { poolName, poolOf } from './pools.ts';
import type { Affinity, IpamRecords, Stored } from './records.ts';
import { CONFLICT } from './retry.ts';

/** A free address of a block as it was read: to be taken by a transaction that finds the block unchanged. */
export type FreeAddress = { readonly block: Stored<Block>; readonly ordinal: number; readonly pool: string };

export type PickContext = {
  readonly records: IpamRecords;
  readonly node: string;
  readonly config: IpamConfig;
  /** This node's own, oldest first. */
  readonly affinities: readonly Affinity[];
  /** The blocks of those that are confirmed. */
  readonly own: readonly Stored<Block>[];
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

/**
 * A free address of one of `pools`, all of one family; in this order of preference, each better than the next
 * for the network: 1. of an own block, rested; 2. of a new block; 3. of a block that another node left empty;
 * 4. borrowed from another node's block, rested, unless affinity is strict; 5. of an own block, released a
 * moment ago; 6. borrowed, released a moment ago. So an address rests its time unless nothing else is left.
 * From 3 on, blocks of other nodes are read, some at a time and in an order of chance: 3 and 4 are decided among
 * those read together, and only where none of them helps the next are read, up to all of the cluster. A claim is
 * a CONFLICT too: what was read is no longer true. Throws OUT_OF_ADDRESSES.
 */
export async function pickAny(
  context: PickContext,
  family: Family,
  pools: readonly IpPool[],
): Promise<FreeAddress | typeof CONFLICT> {
  if (pools.length === 0) throw outOf(family, 'no pool is enabled for this node and pod');
  const { records, node, config } = context;
  const ofFamily = context.affinities.filter(({ cidr }) => familyOf(cidr) === family);
  const confirmed = ofFamily.filter(({ value }) => value === 'confirmed');
  const inPools = (cidr: Cidr): boolean => pools.some((pool) => contains(pool.cidr, cidr));
  const own = context.own.filter(({ value }) => value.node === node && inPools(value.cidr));
  const rested = first(context, own, false);
  if (rested) return rested;

  // Blocks of a pool that was disabled are on their way out: they must not keep the node from the next pool.
  const inUse = confirmed.filter(({ cidr }) => poolOf(context.pools, addressOf(cidr)) !== undefined);
  const mayClaim = config.autoAllocateBlocks && inUse.length < config.maxBlocksPerHost;
  if (mayClaim) {
    const pending = ofFamily.filter(({ value }) => value === 'pending');
    if (await claimNew(context, pending, pools)) return CONFLICT;
  }
  let unrested: FreeAddress | undefined;
  let withheld = 0;
  const others = mayClaim || !config.strictAffinity ? await blocksOfOthers(context, inPools) : [];
  for await (const page of records.pages(others)) {
    const theirs = page.filter(({ value }) => value.node !== node);
    const idle = mayClaim ? theirs.find((block) => isReclaimable(context, block)) : undefined;
    if (idle) {
      await takeOver(records, idle, node, context.now);
      return CONFLICT;
    }
    if (config.strictAffinity) withheld += theirs.reduce((sum, block) => sum + freeCount(context, block), 0);
    const lenders = config.strictAffinity ? [] : theirs;
    const borrowed = first(context, lenders, false);
    if (borrowed) return borrowed;
    unrested ??= first(context, lenders, true);
  }
  const found = first(context, own, true) ?? unrested;
  if (found) return found;
  const names = pools.map(({ name }) => name).join(', ');
  const strictly = config.strictAffinity ? ' and, by strictAffinity, borrow none' : '';
  if (!mayClaim) {
    throw outOf(family, `this node may claim no more blocks than the ${inUse.length} it has${strictly}`);
  }
  if (withheld > 0) {
    throw outOf(
      family,
      `pool ${names} has no block left for this node; of those of other nodes ${withheld} addresses are free, and strictAffinity keeps it from borrowing`,
      'flatnet ipam configure --strict-affinity false, or add an IPPool',
    );
  }
  throw outOf(family, `pool ${names} is used up`);
}

/**
 * The address asked for, of whatever block; its block is claimed when nobody has it. Throws ADDRESS_TAKEN,
 * CONFIG_INVALID.
 */
export async function pickRequested(context: PickContext, ip: Ip): Promise<FreeAddress | typeof CONFLICT> {
  const { records, node, config, now } = context;
  const pool = poolOf(context.pools, ip);
  if (!pool) {
    throw requested(ip, 'CONFIG_INVALID', 'is in no pool that is enabled', 'see flatnet get ippools');
  }
  const cidr = cidrOf(ip, pool.blockSize);
  let block = (await records.blocks([cidr]))[0];
  if (!block) {
    // One of another size than the pool's, from before the pool was made anew.
    const others = (await records.affinities()).filter((each) => each.cidr !== cidr);
    const around = others.filter((each) => contains(each.cidr, ip)).map((each) => each.cidr);
    block = (await records.blocks(around))[0];
    const inside = others.find((each) => each.value === 'confirmed' && contains(cidr, each.cidr));
    if (!block && inside) {
      const text = `needs block ${cidr}, and ${inside.node} has ${inside.cidr} in it, of a former pool`;
      throw requested(ip, 'OUT_OF_ADDRESSES', text);
    }
  }
  if (!block) {
    if (!config.autoAllocateBlocks) {
      throw requested(ip, 'OUT_OF_ADDRESSES', `needs block ${cidr}, and no node may claim blocks`);
    }
    await claimBlock(records, node, cidr, now);
    return CONFLICT;
  }
  const ordinal = ordinalOf(block.value.cidr, ip) ?? -1;
  const owner = block.value.allocations.get(ordinal);
  if (owner) {
    const who = owner.pod === undefined ? owner.handle : `${owner.namespace ?? 'default'}/${owner.pod}`;
    throw requested(ip, 'ADDRESS_TAKEN', `is in use by ${who} on ${owner.node}`);
  }
  if (config.strictAffinity && block.value.node !== node) {
    throw requested(
      ip,
      'ADDRESS_TAKEN',
      `is in a block of ${block.value.node}, and strictAffinity keeps this node from it`,
    );
  }
  return { block, ordinal, pool: pool.name };
}

/** Whether a block was claimed, or somebody else's moves made it worth looking again. */
async function claimNew(
  context: PickContext,
  pending: readonly Affinity[],
  pools: readonly IpPool[],
): Promise<boolean> {
  const { records, node, now, reserved } = context;
  for (const affinity of pending) {
    // What a crash left of an earlier claim: taken up, or taken away.
    const isWanted = pools.some((pool) => isCutFrom(pool, affinity.cidr));
    if (!isWanted) await withdraw(records, affinity);
    else if (await claimBlock(records, node, affinity.cidr, now)) return true;
  }
  const taken = new Taken((await records.affinities()).map(({ cidr }) => cidr));
  let lost = 0;
  for (const pool of pools) {
    for (const cidr of candidates(pool, node, reserved)) {
      if (taken.overlaps(cidr)) continue;
      if (freeOrdinal(newBlock(cidr, node, now), wish(context, false)) === undefined) continue;
      if (await claimBlock(records, node, cidr, now)) return true;
      if (++lost === MAX_CANDIDATES) return true;
    }
  }
  return lost > 0;
}

/** In an order of chance, so that not all nodes borrow from the same one. */
async function blocksOfOthers(
  { records, node, random }: PickContext,
  inPools: (cidr: Cidr) => boolean,
): Promise<readonly Cidr[]> {
  const affinities = await records.affinities();
  const theirs = affinities.filter(
    ({ node: owner, value, cidr }) => owner !== node && value === 'confirmed' && inPools(cidr),
  );
  return shuffled(theirs, random).map(({ cidr }) => cidr);
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
    if (ordinal !== undefined) return { block, ordinal, pool: poolName(context.pools, block.value.cidr) };
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

function outOf(
  family: Family,
  text: string,
  fix = 'see flatnet ipam show --blocks; add an IPPool, or raise maxBlocksPerHost',
): FlatnetError {
  return new FlatnetError(text, {
    code: 'OUT_OF_ADDRESSES',
    operation: 'address assign',
    object: `IPv${family}`,
    fix,
  });
}

function requested(
  ip: Ip,
  code: 'ADDRESS_TAKEN' | 'CONFIG_INVALID' | 'OUT_OF_ADDRESSES',
  text: string,
  fix?: string,
): FlatnetError {
  return new FlatnetError(text, { code, operation: 'address assign', object: ip, ...(fix && { fix }) });
}
