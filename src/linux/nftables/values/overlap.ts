import { type ElementText, fieldsOf } from './element.ts';
import { type Field, fieldBytes } from './field.ts';
import type { SetValue } from './table.ts';

/** The area that an element covers, one side per field. */
type Box<E> = { readonly element: E; readonly sides: readonly Side[] };
type Side = { readonly first: Field; readonly last: Field };

/**
 * Maps each element of an interval set that overlaps an earlier one to that one. The kernel refuses most of
 * these, and the whole transaction with them, but not all: nft_pipapo compares only the corners of a range.
 */
export function overlapping<E extends ElementText>(set: SetValue, elements: readonly E[]): Map<E, E> {
  const lost = new Map<E, E>();
  if (!set.interval) return lost;
  const met = meetings(elements.map((element) => box(set, element)));
  for (const element of elements) {
    const before = met.get(element)?.find((other) => !lost.has(other));
    if (before) lost.set(element, before);
  }
  return lost;
}

/** Maps each element to the earlier ones that it overlaps. */
function meetings<E>(boxes: readonly Box<E>[]): Map<E, E[]> {
  const rank = new Map(boxes.map(({ element }, i) => [element, i]));
  const met = new Map<E, E[]>();
  let open: Box<E>[] = [];
  for (const next of boxes.toSorted(byFirstSide)) {
    open = open.filter((each) => !endsBefore(each, next));
    for (const other of open) {
      if (!overlaps(other, next)) continue;
      const isLater = (rank.get(next.element) ?? 0) > (rank.get(other.element) ?? 0);
      const [late, early] = isLater ? [next.element, other.element] : [other.element, next.element];
      met.set(late, [...(met.get(late) ?? []), early]);
    }
    open.push(next);
  }
  return met;
}

function box<E extends ElementText>(set: SetValue, element: E): Box<E> {
  const sides = fieldsOf(element.key).map((text, i) => {
    const { first, last = first } = fieldBytes(set.key[i] ?? set.key[0], text);
    return { first, last };
  });
  return { element, sides };
}

function byFirstSide(a: Box<unknown>, b: Box<unknown>): number {
  const [one, other] = [a.sides[0], b.sides[0]];
  return one && other ? Buffer.compare(one.first, other.first) : 0;
}

function endsBefore(a: Box<unknown>, b: Box<unknown>): boolean {
  const [one, other] = [a.sides[0], b.sides[0]];
  return one !== undefined && other !== undefined && Buffer.compare(one.last, other.first) < 0;
}

function overlaps(a: Box<unknown>, b: Box<unknown>): boolean {
  return a.sides.every(({ first, last }, i) => {
    const other = b.sides[i];
    return !other || (Buffer.compare(first, other.last) <= 0 && Buffer.compare(other.first, last) <= 0);
  });
}
