import { fnv32 } from '../../ip/fnv.ts';

/** The least number of slots, so that a small cluster's first changes need no others. */
const LEAST = 16;

/** Numbers of things, each below `count`. */
export type Slots = { readonly numbers: ReadonlyMap<string, number>; readonly count: number };

/**
 * Numbers things by their keys alone, so that every process numbers them alike, whatever came and went
 * before: a number is where its key's hash points to, or the next that is free. A quarter of the slots, whose
 * number is a power of two, stays free: so a thing that comes or goes seldom moves another.
 */
export function slotsOf(keys: Iterable<string>): Slots {
  const sorted = [...new Set(keys)].sort();
  let count = LEAST;
  while (3 * count < 4 * sorted.length) count *= 2;
  const taken = new Set<number>();
  const numbers = new Map<string, number>();
  for (const key of sorted) {
    let number = fnv32(key) & (count - 1);
    while (taken.has(number)) number = (number + 1) & (count - 1);
    taken.add(number);
    numbers.set(key, number);
  }
  return { numbers, count };
}
