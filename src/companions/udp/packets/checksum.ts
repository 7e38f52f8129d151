/**
 * Sums of the Internet checksum (RFC 1071). They do not depend on byte order, so memory is added up as the
 * machine reads it, four bytes at a time where it is aligned; only the result is swapped.
 */
export class Memory {
  readonly bytes: Buffer;
  readonly #words: Uint32Array;
  readonly #halves: Uint16Array;

  /** `bytes`: aligned to four bytes, and of a multiple of four. */
  constructor(bytes: Buffer) {
    this.bytes = bytes;
    this.#words = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length >> 2);
    this.#halves = new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.length >> 1);
  }

  /**
   * The sum of bytes, folded to 16 bits, in network byte order. An odd last byte counts as if zero followed.
   */
  sum(from: number, to: number): number {
    if (from % 2 === 0) return swap(fold(this.#sumEven(from, to)));
    // One byte further on, every byte has the other half's weight.
    const before = (this.bytes[from - 1] ?? 0) << 8;
    return swap(fold(swap(fold(this.#sumEven(from - 1, to))) + 0xffff - before));
  }

  /** From an even offset, not folded, in the machine's byte order. */
  #sumEven(from: number, to: number): number {
    const [words, halves] = [this.#words, this.#halves];
    let sum = 0;
    let at = from;
    if (at % 4 !== 0 && at + 2 <= to) {
      sum += halves[at >> 1] as number;
      at += 2;
    }
    if (at % 4 === 0) {
      let word = at >> 2;
      // A double holds the sum of 2^21 such words exactly.
      for (const last = (to >> 2) - 3; word < last; word += 4) {
        sum += (words[word] as number) + (words[word + 1] as number);
        sum += (words[word + 2] as number) + (words[word + 3] as number);
      }
      at = word << 2;
    }
    for (; at + 2 <= to; at += 2) sum += halves[at >> 1] as number;
    return at < to ? sum + (this.bytes[at] as number) : sum;
  }
}

/** Folds a sum to 16 bits. */
export function fold(sum: number): number {
  let low = (sum % 0x10000) + Math.floor(sum / 0x10000);
  while (low > 0xffff) low = (low % 0x10000) + Math.floor(low / 0x10000);
  return low;
}

/** The checksum for a folded sum. */
export function checksumOf(sum: number): number {
  return ~fold(sum) & 0xffff;
}

function swap(half: number): number {
  return ((half & 0xff) << 8) | (half >> 8);
}
