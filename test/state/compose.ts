import { Composition, type Contribution } from '../../src/state/contributions.ts';
import { type Item, keyOf } from '../../src/state/item.ts';

/** Composes contributions from scratch. */
export function compose(list: readonly Contribution[]): Pick<Composition, 'items' | 'warnings'> {
  const composition = new Composition();
  composition.update(list);
  return composition;
}

/** Items by key; of several with the same key, the last one wins. */
export function byKey(items: Iterable<Item>): Map<string, Item> {
  return new Map(Array.from(items, (item) => [keyOf(item), item]));
}
