import { changeOf, diff } from './diff.ts';
import { type Change, type Item, isOurs, type KernelState, kindOf, parentOf } from './item.ts';
import type { Kernel, Outcome } from './kernel.ts';
import { order } from './order.ts';

/** A run that changed something looks again; so often at most. */
const MAX_LOOKS = 6;

/** Reads the kernel, changes what differs, and reads again until nothing differs or nothing more can be done. */
export async function converge(kernel: Kernel, desired: KernelState, prune: boolean): Promise<Outcome> {
  const done: Change[] = [];
  let left: Pick<Outcome, 'failed' | 'waiting'> = { failed: [], waiting: [] };
  for (let look = 0; look < MAX_LOOKS; look++) {
    const changes = diff(await kernel.read(desired), desired, { prune });
    left = { failed: [], waiting: [] };
    if (changes.length === 0) break;
    const outcome = await kernel.apply(order(changes));
    left = outcome;
    done.push(...outcome.done);
    if (outcome.done.length === 0) break;
  }
  return { ...left, done };
}

/**
 * The changes that a change of the desired state alone calls for. `before`: what the kernel is known to hold, of each
 * key that may be another now. Undefined when that is not enough to go by: a device that is made, goes or is absent
 * concerns other items too. `isHeld`: whether the kernel is known to hold what is wanted under a key.
 */
export function delta(
  before: ReadonlyMap<string, Item | undefined>,
  desired: KernelState,
  isHeld: (key: string) => boolean,
  prune: boolean,
): Change[] | undefined {
  const changes: Change[] = [];
  for (const [key, was] of before) {
    const item = desired.get(key);
    const change = item ? changeOf(was, item) : was && { action: 'delete' as const, item: was };
    if (!change) continue;
    const parent = parentOf(change.item);
    if (kindOf(change.item).entails?.(change.item)) return undefined;
    if (parent !== undefined && desired.has(parent) && !isHeld(parent)) return undefined;
    if (change.action !== 'delete') changes.push(change);
    else if (!isOurs(change.item, desired)) continue;
    else if (prune) changes.push(change);
    else return undefined;
  }
  return changes;
}
