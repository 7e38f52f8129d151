import { changeOf, diff } from './diff.ts';
import { type Change, type Item, isOurs, type KernelState, keyOf, kindOf, parentOf } from './item.ts';
import type { Failure, Kernel, Outcome, Waiting } from './kernel.ts';
import { order } from './order.ts';

/** A run that changed something looks again; so often at most. */
const MAX_LOOKS = 6;

/** `held`: what of the desired state the kernel is known to hold now, by key. */
export type Converged = Outcome & { readonly held: Map<string, Item> };

/** Reads the kernel, changes what differs, and reads again until nothing differs or nothing more can be done. */
export async function converge(kernel: Kernel, desired: KernelState, prune: boolean): Promise<Converged> {
  const done: Change[] = [];
  let failed: readonly Failure[] = [];
  let waiting: readonly Waiting[] = [];
  for (let look = 0; look < MAX_LOOKS; look++) {
    const actual = await kernel.read(desired);
    const changes = diff(actual, desired, { prune });
    ({ failed, waiting } = { failed: [], waiting: [] });
    if (changes.length === 0) break;
    const outcome = await kernel.apply(order(changes));
    ({ failed, waiting } = outcome);
    done.push(...outcome.done);
    if (outcome.done.length === 0) break;
  }
  const held = new Map(desired);
  for (const { change } of [...failed, ...waiting]) held.delete(keyOf(change.item));
  return { done, failed, waiting, held };
}

/**
 * The changes that a change of the desired state alone calls for, by what the kernel was last known to hold; undefined
 * when that is not enough to go by: a device that is made, goes or is not there concerns other items too.
 */
export function delta(
  held: KernelState,
  desired: KernelState,
  keys: Iterable<string>,
  prune: boolean,
): Change[] | undefined {
  const changes: Change[] = [];
  for (const key of keys) {
    const was = held.get(key);
    const item = desired.get(key);
    const change = item ? changeOf(was, item) : was && { action: 'delete' as const, item: was };
    if (!change) continue;
    const parent = parentOf(change.item) ?? '';
    if (kindOf(change.item).entails?.(change.item) || (desired.has(parent) && !held.has(parent)))
      return undefined;
    if (change.action !== 'delete') changes.push(change);
    else if (!isOurs(change.item, desired)) continue;
    else if (prune) changes.push(change);
    else return undefined;
  }
  return changes;
}
