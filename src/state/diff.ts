import { type Change, type Item, isOurs, type KernelState, kindOf, parentOf, satisfies } from './item.ts';

/**
 * Unwanted items that are deleted: all, none, or those of which it says so. `isOnWanted`: whether it belongs
 * to a device or table that is itself wanted.
 */
export type Prune = boolean | ((item: Item, isOnWanted: boolean) => boolean);

export type DiffOptions = {
  /** Which unwanted items of ours are deleted. By default all. */
  readonly prune?: Prune;
};

/** Computes the changes from actual to desired state, in no particular order; see `order`. Pure. */
export function diff(actual: KernelState, desired: KernelState, options: DiffOptions = {}): Change[] {
  /** Changes of items without a parent, by key. */
  const parents = new Map<string, Change>();
  for (const [key, item] of desired) {
    const change = parentOf(item) === undefined ? changeOf(actual.get(key), item) : undefined;
    if (change) parents.set(key, change);
  }
  const changes = [...parents.values()];
  const isLost = (item: Item): boolean => {
    if (parents.size === 0) return false;
    const parent = parents.get(parentOf(item) ?? '');
    return parent !== undefined && (parent.action === 'recreate' || isLostBy(item, parent));
  };
  for (const [key, item] of desired) {
    if (parentOf(item) === undefined) continue;
    const change = changeOf(isLost(item) ? undefined : actual.get(key), item);
    if (change) changes.push(change);
  }
  const { prune = true } = options;
  if (prune === false) return changes;
  for (const [key, item] of actual) {
    if (isUnwanted(key, item, desired) && !isLost(item) && isPruned(item, desired, prune))
      changes.push({ action: 'delete', item });
  }
  return changes;
}

/** Whether an item in the kernel is ours and not desired. */
export function isUnwanted(key: string, item: Item, desired: KernelState): boolean {
  return !desired.has(key) && isOurs(item, desired);
}

/** Whether an unwanted item of ours is deleted. */
export function isPruned(item: Item, desired: KernelState, prune: Prune): boolean {
  if (typeof prune === 'boolean') return prune;
  const parent = parentOf(item);
  return prune(item, parent !== undefined && desired.has(parent));
}

/** The change needed in one slot; undefined if none. */
export function changeOf(was: Item | undefined, item: Item): Change | undefined {
  if (!was) return { action: 'add', item };
  if (satisfies(was, item)) return undefined;
  return { action: kindOf(item).mustRecreate?.(was, item) ? 'recreate' : 'change', item, was };
}

function isLostBy(item: Item, parent: Change): boolean {
  return kindOf(item).isLostBy?.(item, parent) ?? false;
}
