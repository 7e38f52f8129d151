import { Composition, type Contribution } from '../../src/state/contributions.ts';
import { type Item, keyOf } from '../../src/state/item.ts';

/** Contributions put together from nothing. */
export function compose(list: readonly Contribution[]): Pick<Composition, 'items' | 'warnings'> {
  const composition = new Composition();
  composition.update(list);
  return composition;
}

/** Items by their keys; of two with one key the later stays. */
export function byKey(items: Iterable<Item>): Map<string, Item> {
  return new Map(Array.from(items, (item) => [keyOf(item), item]));
}
