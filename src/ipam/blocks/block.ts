import { FlatnetError } from '../../error.ts';
import { type Ip, ipToBigInt } from '../../ip/address.ts';
import { addressOf, type Cidr, contains, nthIp, sizeOf } from '../../ip/cidr.ts';
import type { Block, Owner } from '../../store/ports/blocks.ts';

// Blocks are values: these functions return new ones.

/** `now`: seconds since 1970 with fractions, as in all functions here. */
export function newBlock(cidr: Cidr, node: string, now: number): Block {
  const sequence = Math.floor(now * 1000);
  return {
    cidr,
    node,
    sequence,
    changed: Math.floor(now),
    allocations: new Map(),
    released: new Map(),
  };
}

export type Wish = {
  readonly now: number;
  /**
   * Seconds an address rests after its release, so that whoever still sends to its last owner does not reach
   * the next.
   */
  readonly cooldown: number;
  /** Rather than none, take one that still rests, the one released longest ago. */
  readonly restless?: boolean;
  /** Addresses that only those get who ask for them. */
  readonly isReserved: (ip: Ip) => boolean;
};

/**
 * The free address to give out next: one never used, else the one released longest ago; undefined when none
 * suits.
 */
export function freeOrdinal(block: Block, wish: Wish): number | undefined {
  const size = blockSize(block.cidr);
  if (block.allocations.size === size) return undefined;
  const isAllowed = (ordinal: number): boolean => !wish.isReserved(nthIp(block.cidr, ordinal));
  if (block.allocations.size + block.released.size < size) {
    for (let ordinal = 0; ordinal < size; ordinal++) {
      const isFresh = !block.allocations.has(ordinal) && !block.released.has(ordinal);
      if (isFresh && isAllowed(ordinal)) return ordinal;
    }
  }
  for (const [ordinal, at] of block.released) {
    if ((wish.restless || hasRested(at, wish)) && isAllowed(ordinal)) return ordinal;
  }
  return undefined;
}

/** Throws INTERNAL when the address is in use. */
export function take(block: Block, ordinal: number, owner: Owner, now: number): Block {
  if (block.allocations.has(ordinal) || ordinal >= blockSize(block.cidr)) {
    throw new FlatnetError('is not free', { code: 'INTERNAL', object: `${block.cidr} ordinal ${ordinal}` });
  }
  const at = Math.floor(now);
  const allocations = new Map(block.allocations).set(ordinal, { ...owner, sequence: block.sequence, at });
  const released = new Map(block.released);
  released.delete(ordinal);
  return { ...block, sequence: block.sequence + 1, changed: at, allocations, released };
}

/** Frees those in use among the ordinals. */
export function give(block: Block, ordinals: Iterable<number>, now: number): Block {
  const at = Math.floor(now);
  const allocations = new Map(block.allocations);
  const released = new Map(block.released);
  for (const ordinal of ordinals) if (allocations.delete(ordinal)) released.set(ordinal, at);
  return { ...block, changed: at, allocations, released };
}

/** The block in another node's hands. Its addresses go on resting. */
export function handOver(block: Block, node: string, now: number): Block {
  return { ...block, node, changed: Math.floor(now) };
}

/**
 * The same block as a new version: whatever was computed from the former one, and is still on its way to the
 * store, comes too late.
 */
export function fence(block: Block): Block {
  return { ...block, sequence: block.sequence + 1 };
}

/** Nothing is in use, and nothing has been for `seconds`. */
export function isIdle(block: Block, now: number, seconds: number): boolean {
  return block.allocations.size === 0 && hasRested(block.changed, { now, cooldown: seconds });
}

/** Whether the block says that the handle has the address. */
export function isHeldBy(block: Block, ip: Ip, handle: string): boolean {
  return block.allocations.get(ordinalOf(block.cidr, ip) ?? -1)?.handle === handle;
}

/** Undefined when the address is not in the block. */
export function ordinalOf(cidr: Cidr, ip: Ip): number | undefined {
  return contains(cidr, ip) ? Number(ipToBigInt(ip) - ipToBigInt(addressOf(cidr))) : undefined;
}

export function blockSize(cidr: Cidr): number {
  return Number(sizeOf(cidr));
}

/**
 * A time further in the future than the rest lasts comes from a wrong clock, and must not hold the address
 * back.
 */
function hasRested(at: number, { now, cooldown }: Pick<Wish, 'now' | 'cooldown'>): boolean {
  return Math.abs(now - at) >= cooldown;
}
