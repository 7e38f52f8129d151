import { Composition, type Contribution } from './contributions.ts';
import { changeOf, diff } from './diff.ts';
import { type Change, type Item, isOurs, keyOf, kindOf, parentOf } from './item.ts';
import type { Kernel, Outcome } from './kernel.ts';
import { order } from './order.ts';
import { UndoneList } from './undone.ts';

/** A run that changed something looks again, at most this often. */
const MAX_LOOKS = 6;

/**
 * What is desired, what is known about the kernel, and the step that makes the two agree. One step at a time.
 */
export class Convergence {
  readonly undone = new UndoneList();
  readonly #kernel: Kernel;
  /** Does not change during a step. */
  readonly #desired = new Composition();
  /** What the kernel is known to hold under each key that has changed since the last step. */
  #dirty = new Map<string, Item | undefined>();
  /** Nothing is assumed about the kernel: it has to be read. */
  #isStale = true;
  #prune = false;

  constructor(kernel: Kernel) {
    this.#kernel = kernel;
  }

  get desired(): Pick<Composition, 'items' | 'warnings' | 'ownerOf' | 'concerns'> {
    return this.#desired;
  }

  /** Whether there is anything to do. */
  setDesired(contributions: readonly Contribution[]): boolean {
    for (const [key, was] of this.#desired.update(contributions)) {
      if (!this.#dirty.has(key)) this.#dirty.set(key, this.undone.has(key) ? undefined : was);
    }
    return this.#dirty.size > 0;
  }

  /** From now on, what is ours and unwanted is removed. Returns whether that is news. */
  allowPrune(): boolean {
    if (this.#prune) return false;
    this.#prune = true;
    this.#isStale = true;
    return true;
  }

  /** The kernel may differ from what is assumed. */
  doubt(): void {
    this.#isStale = true;
  }

  /** What a step would change. */
  async preview(): Promise<Change[]> {
    const { items } = this.#desired;
    return order(diff(await this.#kernel.read(items), items, { prune: this.#prune })).flat();
  }

  /**
   * `full`: the kernel was read as a whole, as changes of the desired state alone did not tell what to do.
   */
  async step(): Promise<Outcome & { readonly full: boolean }> {
    const dirty = this.#dirty;
    this.#dirty = new Map();
    // What comes during the step is for the next: what is desired then is what may be pruned by, not what is
    // now.
    const prune = this.#prune;
    const known = this.#isStale ? undefined : this.#changesFor(dirty);
    // Set before reading: whatever happens from now on calls for another look.
    this.#isStale = false;
    const direct = known && (await this.#kernel.apply(order(await this.#withoutDone(known))));
    if (direct?.failed.length === 0) {
      this.undone.forget(dirty.keys());
      this.undone.add(direct);
      return { ...direct, full: false };
    }
    const outcome = await this.#converge(prune);
    this.undone.forget();
    this.undone.add(outcome);
    return { ...outcome, done: [...(direct?.done ?? []), ...outcome.done], full: true };
  }

  /**
   * Reads the kernel, changes what differs, and reads again until nothing differs or nothing more can be
   * done.
   */
  async #converge(prune: boolean): Promise<Outcome> {
    const { items } = this.#desired;
    const done: Change[] = [];
    let left: Pick<Outcome, 'failed' | 'waiting'> = { failed: [], waiting: [] };
    for (let look = 0; look < MAX_LOOKS; look++) {
      const changes = diff(await this.#kernel.read(items), items, { prune });
      left = { failed: [], waiting: [] };
      if (changes.length === 0) break;
      const outcome = await this.#kernel.apply(order(changes));
      left = outcome;
      done.push(...outcome.done);
      if (outcome.done.length === 0) break;
    }
    return { ...left, done };
  }

  /** A device made by others comes with what they put on it: a pod's, with everything CNI did. */
  async #withoutDone(changes: readonly Change[]): Promise<readonly Change[]> {
    const found = new Set(
      changes
        .filter(({ action, item }) => action === 'add' && kindOf(item).provides)
        .map(({ item }) => keyOf(item)),
    );
    const isOpen = ({ action, item }: Change): boolean => action === 'add' && isOnAny(found, item);
    const open = changes.filter(isOpen).map(({ item }) => item);
    if (open.length === 0) return changes;
    const present = await this.#kernel.look(open);
    const left = open.map((item, i) => changeOf(present[i], item)).filter((change) => change !== undefined);
    return [...changes.filter((change) => !isOpen(change)), ...left];
  }

  /**
   * The changes that a change of the desired state alone calls for; undefined when that is not enough to go
   * by: a device that is made, goes or is absent concerns other items too.
   */
  #changesFor(dirty: ReadonlyMap<string, Item | undefined>): Change[] | undefined {
    const { items } = this.#desired;
    const changes: Change[] = [];
    for (const [key, was] of dirty) {
      const change = changeFrom(was, items.get(key));
      if (!change || (change.action === 'delete' && !isOurs(change.item, items))) continue;
      const parent = parentOf(change.item);
      if (kindOf(change.item).entails?.(change.item)) return undefined;
      // Its parent exists, or is handled in the same step.
      if (parent !== undefined && this.undone.has(parent) && !dirty.has(parent)) return undefined;
      if (change.action === 'delete' && !this.#prune) return undefined;
      changes.push(change);
    }
    return changes;
  }
}

/** Whether an item is, or hangs on, a device that somebody else made. */
function isOnAny(devices: ReadonlySet<string>, item: Item): boolean {
  return devices.has(keyOf(item)) || devices.has(parentOf(item) ?? '');
}

function changeFrom(was: Item | undefined, item: Item | undefined): Change | undefined {
  return item ? changeOf(was, item) : was && { action: 'delete', item: was };
}
