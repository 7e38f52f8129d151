import { FlatnetError } from '../../error.ts';
import { type Ip, ipToBigInt } from '../../ip/address.ts';
import { addressOf, type Cidr, contains, nthIp, sizeOf } from '../../ip/cidr.ts';

/** Who has an address. */
export type Owner = {
  readonly handle: string;
  /** Where it is used: not the block's node when the address is borrowed. */
  readonly node: string;
  readonly pod?: string;
  readonly namespace?: string;
  readonly type?: string;
};

export type Allocation = Owner & {
  /** No other allocation of the block ever has it: tells one owner of the address from the next (ABA). */
  readonly sequence: number;
  /** Seconds since 1970. */
  readonly at: number;
};

/**
 * A block of addresses that one node claimed. An address is named by its ordinal, counted from the network
 * address; every one of them may be used, as there is no broadcast between routed pods. A value: the
 * functions below return a new one.
 */
export type Block = {
  readonly cidr: Cidr;
  /** Whose block it is: it alone advertises the block, and takes addresses from it before others borrow. */
  readonly node: string;
  /**
   * What the next allocation gets. Begins with the time of the making, so that a block made again repeats
   * none.
   */
  readonly sequence: number;
  /** When an address last came or went, or the block changed hands. Seconds since 1970. */
  readonly changed: number;
  readonly allocations: ReadonlyMap<number, Allocation>;
  /** When the free addresses that were in use before came back; the longest free comes first. */
  readonly released: ReadonlyMap<number, number>;
};

/** `now`: seconds since 1970, fractions included, as for all functions here. */
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
   * Seconds an address rests after its release: whoever still sends to the last owner shall not reach the
   * next.
   */
  readonly cooldown: number;
  /** Take one that still rests, the longest first, rather than none. */
  readonly restless?: boolean;
  /** Addresses that may not be given out unasked. */
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

/** The block in another node's hands. Its addresses rest on. */
export function handOver(block: Block, node: string, now: number): Block {
  return { ...block, node, changed: Math.floor(now) };
}

/** Nothing is in use, and nothing has been for `seconds`. */
export function isIdle(block: Block, now: number, seconds: number): boolean {
  return block.allocations.size === 0 && hasRested(block.changed, { now, cooldown: seconds });
}

/** Undefined when the address is not in the block. */
export function ordinalOf(cidr: Cidr, ip: Ip): number | undefined {
  return contains(cidr, ip) ? Number(ipToBigInt(ip) - ipToBigInt(addressOf(cidr))) : undefined;
}

export function blockSize(cidr: Cidr): number {
  return Number(sizeOf(cidr));
}

/**
 * A time further ahead than the rest is long was told by a clock gone wrong, and shall not hold the address
 * back.
 */
function hasRested(
  at: number,
  { now, cooldown }: { readonly now: number; readonly cooldown: number },
): boolean {
  return Math.abs(now - at) >= cooldown;
}
