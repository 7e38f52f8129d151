import { BITS, familyOf, ipFromBigInt, ipToBigInt } from '../../ip/address.ts';
import { addressOf, type Cidr, cidrOf, contains, lastIp, lengthOf, overlaps } from '../../ip/cidr.ts';
import { fnv32 } from '../../ip/fnv.ts';

/** A network and the prefix length of the blocks it is divided into. */
export type Range = { readonly cidr: Cidr; readonly blockSize: number };

/**
 * Yields each block of a pool that is not entirely reserved, starting at a position derived from the seed:
 * nodes that start together begin at different positions, and a returning node begins where it did before. A
 * pool may have 2⁷⁴ blocks: stop early.
 */
export function* candidates(
  { cidr, blockSize }: Range,
  seed: string,
  reserved: readonly Cidr[],
): Generator<Cidr> {
  const family = familyOf(cidr);
  const large = reserved.filter((each) => lengthOf(each) <= blockSize);
  const first = ipToBigInt(addressOf(cidr));
  const size = 1n << BigInt(BITS[family] - blockSize);
  const count = 1n << BigInt(blockSize - lengthOf(cidr));
  const start = BigInt(fnv32(seed)) % count;
  for (let step = 0n; step < count; step++) {
    const index = (start + step) % count;
    const block = cidrOf(ipFromBigInt(family, first + index * size), blockSize);
    const reservation = large.find((each) => contains(each, block));
    if (!reservation) yield block;
    // A reservation may cover too many blocks to iterate over: skip to its last.
    else {
      const last = (ipToBigInt(lastIp(reservation)) - first) / size;
      step += (last < count ? last : count - 1n) - index;
    }
  }
}

/** Whether the pool could have produced this block. */
export function isCutFrom({ cidr, blockSize }: Range, block: Cidr): boolean {
  return lengthOf(block) === blockSize && contains(cidr, block);
}

/**
 * Detects overlaps with a block, fast when nearly all blocks have the same size. Other sizes come from a pool
 * that was deleted and recreated with another blockSize while its blocks were in use.
 */
export class Taken {
  readonly #cidrs: ReadonlySet<Cidr>;
  readonly #byLength = new Map<number, Cidr[]>();

  constructor(cidrs: Iterable<Cidr>) {
    this.#cidrs = new Set(cidrs);
    for (const cidr of this.#cidrs) {
      const same = this.#byLength.get(lengthOf(cidr));
      if (same) same.push(cidr);
      else this.#byLength.set(lengthOf(cidr), [cidr]);
    }
  }

  overlaps(cidr: Cidr): boolean {
    if (this.#cidrs.has(cidr)) return true;
    for (const [length, others] of this.#byLength) {
      if (length !== lengthOf(cidr) && others.some((other) => overlaps(other, cidr))) return true;
    }
    return false;
  }
}
