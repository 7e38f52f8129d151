import { BITS, familyOf, ipFromBigInt, ipToBigInt } from '../../ip/address.ts';
import { addressOf, type Cidr, cidrOf, contains, lastIp, lengthOf, overlaps } from '../../ip/cidr.ts';
import { fnv32 } from '../../ip/fnv.ts';

/** What is cut into blocks. */
export type Range = { readonly cidr: Cidr; readonly blockSize: number };

/**
 * The blocks of a pool that `reserved` leaves room in, each once, from a place that the seed chooses: nodes
 * that start together begin at different places, and a node that comes back begins at its old one. A pool may
 * hold 2⁷⁴ of them: stop early.
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
    // A reservation may cover more blocks than one can count through: on to its last.
    else {
      const last = (ipToBigInt(lastIp(reservation)) - first) / size;
      step += (last < count ? last : count - 1n) - index;
    }
  }
}

/** Whether the pool could have given out this block. */
export function isCutFrom({ cidr, blockSize }: Range, block: Cidr): boolean {
  return lengthOf(block) === blockSize && contains(cidr, block);
}

/**
 * Finds what overlaps a block fast where nearly all blocks are of one size. Other sizes stem from a pool that
 * was deleted and made again with another blockSize while blocks of the first were in use.
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
