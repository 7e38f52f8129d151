import { FlatnetError } from '../../error.ts';
import { type Ip, ipToBigInt } from '../../ip/address.ts';
import { addressOf, type Cidr, contains, nthIp, sizeOf } from '../../ip/cidr.ts';
import type { Block, Owner } from '../../store/ports/blocks.ts';

// Blocks are immutable: these functions return new ones.

/** `now`: fractional seconds since 1970, as in all functions here. */
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

export type AddressCriteria = {
  readonly now: number;
  /**
   * Seconds an address rests after release, so that traffic for its last owner does not reach the next one.
   */
  readonly cooldown: number;
  /** If none has rested long enough, accept the address released longest ago. */
  readonly allowResting?: boolean;
  /** Whether the address is assigned only on explicit request. */
  readonly isReserved: (ip: Ip) => boolean;
};

/**
 * Picks the next free address to assign: one never used, else the one released longest ago; undefined when
 * none qualifies.
 */
export function freeOrdinal(block: Block, criteria: AddressCriteria): number | undefined {
  const size = blockSize(block.cidr);
  if (block.allocations.size === size) return undefined;
  const isAllowed = (ordinal: number): boolean => !criteria.isReserved(nthIp(block.cidr, ordinal));
  if (block.allocations.size + block.released.size < size) {
    for (let ordinal = 0; ordinal < size; ordinal++) {
      const isFresh = !block.allocations.has(ordinal) && !block.released.has(ordinal);
      if (isFresh && isAllowed(ordinal)) return ordinal;
    }
  }
  for (const [ordinal, at] of block.released) {
    if ((criteria.allowResting || hasRested(at, criteria)) && isAllowed(ordinal)) return ordinal;
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

/** Frees those ordinals that are in use. */
export function release(block: Block, ordinals: Iterable<number>, now: number): Block {
  const at = Math.floor(now);
  const allocations = new Map(block.allocations);
  const released = new Map(block.released);
  for (const ordinal of ordinals) if (allocations.delete(ordinal)) released.set(ordinal, at);
  return { ...block, changed: at, allocations, released };
}

/** Transfers the block to another node. Its addresses continue their cooldown. */
export function handOver(block: Block, node: string, now: number): Block {
  return { ...block, node, changed: Math.floor(now) };
}

/** Returns the same block as a new version, so that in-flight writes based on the previous version fail. */
export function fence(block: Block): Block {
  return { ...block, sequence: block.sequence + 1 };
}

/** Whether no address is in use, and none has been for `seconds`. */
export function isIdle(block: Block, now: number, seconds: number): boolean {
  return block.allocations.size === 0 && hasRested(block.changed, { now, cooldown: seconds });
}

/** Whether the block records the handle as the address's owner. */
export function isHeldBy(block: Block, ip: Ip, handle: string): boolean {
  return block.allocations.get(ordinalOf(block.cidr, ip) ?? -1)?.handle === handle;
}

/** The address's ordinal; undefined when it is not in the block. */
export function ordinalOf(cidr: Cidr, ip: Ip): number | undefined {
  return contains(cidr, ip) ? Number(ipToBigInt(ip) - ipToBigInt(addressOf(cidr))) : undefined;
}

export function blockSize(cidr: Cidr): number {
  return Number(sizeOf(cidr));
}

/** A timestamp more than `cooldown` in the future comes from a wrong clock and must not block the address. */
function hasRested(at: number, { now, cooldown }: Pick<AddressCriteria, 'now' | 'cooldown'>): boolean {
  return Math.abs(now - at) >= cooldown;
}
