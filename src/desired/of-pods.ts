import type { Item } from '../state/item.ts';

/** By table: the sets whose elements are pods'; all of the table's, if none is named. */
const SETS: ReadonlyMap<string, readonly string[]> = new Map([
  ['flatnet-host-ports', ['ports', 'addresses', 'near']],
  ['flatnet-masquerade', ['strays']],
  ['flatnet-pods', []],
  ['flatnet-bridge', []],
]);

/**
 * Whether only a pod of this node may want an item of a table that is wanted, so that the node's records
 * alone tell whether it is still wanted. What belongs to a pod's device goes with that.
 */
export function isOfPods(item: Item, isOnWanted: boolean): boolean {
  if (item.kind !== 'nft-element' || !isOnWanted) return false;
  const sets = SETS.get(item.table);
  return sets !== undefined && (sets.length === 0 || sets.includes(item.set));
}
