import { fnv32 } from '../../ip/fnv.ts';

/** The least number of slots, so that a small cluster's first changes need no others. */
const LEAST = 16;

/**
 * Numbers for things that come and go, each below `count`, a power of two. A thing keeps its number while it
 * is there, and nearly always gets the same one in another process: a number is where its key's hash points
 * to, or the next that is free.
 */
export class Slots {
  readonly #numbers = new Map<string, number>();
  readonly #taken = new Set<number>();
  #count = LEAST;

  get count(): number {
    return this.#count;
  }

  /** Gives up the numbers of what is gone and assigns those of what is new, more of them if need be. */
  assign(keys: Iterable<string>): ReadonlyMap<string, number> {
    const wanted = new Set(keys);
    for (const [key, number] of this.#numbers) {
      if (wanted.has(key)) continue;
      this.#numbers.delete(key);
      this.#taken.delete(number);
    }
    while (this.#count < wanted.size) this.#count *= 2;
    for (const key of [...wanted].sort()) if (!this.#numbers.has(key)) this.#take(key);
    return this.#numbers;
  }

  #take(key: string): void {
    let number = fnv32(key) & (this.#count - 1);
    while (this.#taken.has(number)) number = (number + 1) & (this.#count - 1);
    this.#numbers.set(key, number);
    this.#taken.add(number);
  }
}
