import type { Admission } from './admissions.ts';
import { Composition, type Contribution } from './contributions.ts';
import { changeOf, diff, isPruned, isUnwanted, type Prune } from './diff.ts';
import { type Change, type Item, isOurs, type KernelState, keyOf, kindOf, parentOf } from './item.ts';
import type { Kernel, Outcome } from './kernel.ts';
import { order } from './order.ts';
import { UndoneList } from './undone.ts';

/** Maximum passes over the kernel in one step. */
const MAX_PASSES = 6;

/**
 * The desired state, the known state of the kernel, and the step that brings the kernel into line. One step
 * at a time.
 */
export class Convergence {
  readonly undone = new UndoneList();
  readonly #kernel: Kernel;
  /** Does not change during a step. */
  readonly #desired = new Composition();
  /** The kernel's known item under each key whose desired item has changed since the last step. */
  #dirty = new Map<string, Item | undefined>();
  /** The kernel's state is unknown: it has to be read. */
  #isStale = true;
  #prune: Prune = false;
  /** Under which permission the kernel was last read, and whether unwanted items of ours stayed there. */
  #pruned: Prune = false;
  #isSpared = false;
  #hasRead = false;

  constructor(kernel: Kernel) {
    this.#kernel = kernel;
  }

  get desired(): Pick<Composition, 'items' | 'warnings' | 'ownerOf' | 'involves'> {
    return this.#desired;
  }

  /** Replaces the desired state. Returns whether there is anything to do. */
  setDesired(contributions: readonly Contribution[]): boolean {
    this.#note(this.#desired.update(contributions));
    return this.#dirty.size > 0;
  }

  /**
   * Adds contributions to the desired state, until the next one replaces that, and makes the changes to their
   * urgent items, but no others. Returns undefined if the kernel has to be read for that: a step follows
   * then.
   */
  async admit(admissions: readonly Admission[]): Promise<Outcome | undefined> {
    for (const { contribution } of admissions) this.#note(this.#desired.add(contribution));
    const own = new Map<string, Item | undefined>();
    for (const key of admissions.flatMap(({ urgent }) => urgent.map(keyOf))) {
      // An earlier owner's may be what is undone.
      if (this.#dirty.has(key)) own.set(key, this.#dirty.get(key));
      else if (this.undone.has(key)) own.set(key, undefined);
      this.#dirty.delete(key);
    }
    let isDone = false;
    try {
      const outcome = this.#hasRead ? await this.#applyDirectly(own) : undefined;
      isDone = outcome?.failed.length === 0;
      return isDone ? outcome : undefined;
    } finally {
      if (!isDone) this.#isStale = true;
    }
  }

  /** Whether the next step has something to do with a device. */
  isDue(device: string): boolean {
    return this.#dirty.has(`link ${device}`);
  }

  /**
   * From now on, unwanted items of ours are removed, or those of which `which` says so. Returns false if that
   * was so already.
   */
  allowPrune(which: Prune): boolean {
    if (this.#prune === true || this.#prune === which) return false;
    this.#prune = which;
    return true;
  }

  /** Marks the known state of the kernel as outdated. */
  doubt(): void {
    this.#isStale = true;
  }

  /** Returns the changes that a step would make. */
  async preview(): Promise<Change[]> {
    const { items } = this.#desired;
    return order(diff(await this.#kernel.read(items), items, { prune: this.#prune })).flat();
  }

  /**
   * Brings the kernel into the desired state. `full`: the kernel had to be read as a whole, as the changes to
   * the desired state alone did not determine what to do.
   */
  async step(): Promise<Outcome & { readonly full: boolean }> {
    // Nothing to compare the kernel with: an agent that has just started, whose kernel may hold thousands.
    if (this.#isIdle) return { done: [], failed: [], waiting: [], full: false };
    const dirty = this.#dirty;
    this.#dirty = new Map();
    // Read before awaiting: permission to prune that arrives during the step belongs to the next one, with
    // its desired state.
    const prune = this.#prune;
    const isKnown = !this.#isStale && (!this.#isSpared || prune === this.#pruned);
    // Cleared before reading: a change from now on requires another read.
    this.#isStale = false;
    const direct = isKnown ? await this.#applyDirectly(dirty) : undefined;
    if (direct?.failed.length === 0) return { ...direct, full: false };
    const outcome = await this.#converge(prune);
    this.#hasRead = true;
    this.undone.forget();
    this.undone.add(outcome);
    return { ...outcome, done: [...(direct?.done ?? []), ...outcome.done], full: true };
  }

  /** Whether nothing is desired and nothing may be removed. */
  get #isIdle(): boolean {
    return this.#prune === false && this.#isStale && this.#desired.items.size === 0;
  }

  #note(changed: ReadonlyMap<string, Item | undefined>): void {
    for (const [key, was] of changed) {
      if (!this.#dirty.has(key)) this.#dirty.set(key, this.undone.has(key) ? undefined : was);
    }
  }

  /**
   * Makes the changes that follow from the desired state alone; undefined if they don't. If none fails, the
   * keys are done.
   */
  async #applyDirectly(dirty: ReadonlyMap<string, Item | undefined>): Promise<Outcome | undefined> {
    const known = this.#changesFor(dirty);
    const outcome = known && (await this.#kernel.apply(order(await this.#withoutPresent(known))));
    if (outcome?.failed.length === 0) {
      this.undone.forget(dirty.keys());
      this.undone.add(outcome);
    }
    return outcome;
  }

  /**
   * Reads the kernel, corrects differences, and repeats until nothing differs or nothing more can be done.
   */
  async #converge(prune: Prune): Promise<Outcome> {
    const { items } = this.#desired;
    const done: Change[] = [];
    let left: Pick<Outcome, 'failed' | 'waiting'> = { failed: [], waiting: [] };
    for (let pass = 0; pass < MAX_PASSES; pass++) {
      const actual = await this.#kernel.read(items);
      const changes = diff(actual, items, { prune });
      this.#pruned = prune;
      this.#isSpared = prune !== true && hasUnwanted(actual, items);
      left = { failed: [], waiting: [] };
      if (changes.length === 0) break;
      const outcome = await this.#kernel.apply(order(changes));
      left = outcome;
      done.push(...outcome.done);
      if (outcome.done.length === 0) break;
    }
    return { ...left, done };
  }

  /**
   * Drops additions that others have already made: a pod's device arrives with everything CNI configured on
   * it.
   */
  async #withoutPresent(changes: readonly Change[]): Promise<readonly Change[]> {
    const added = new Set(
      changes
        .filter(({ action, item }) => action === 'add' && kindOf(item).provides)
        .map(({ item }) => keyOf(item)),
    );
    const mayBePresent = ({ action, item }: Change): boolean => action === 'add' && isOnAny(added, item);
    const open = changes.filter(mayBePresent).map(({ item }) => item);
    if (open.length === 0) return changes;
    const present = await this.#kernel.find(open);
    const left = open.map((item, i) => changeOf(present[i], item)).filter((change) => change !== undefined);
    return [...changes.filter((change) => !mayBePresent(change)), ...left];
  }

  /**
   * Derives changes from the desired state alone; undefined if that is not enough: a device that is created,
   * removed or absent affects other items too.
   */
  #changesFor(dirty: ReadonlyMap<string, Item | undefined>): Change[] | undefined {
    const { items } = this.#desired;
    const changes: Change[] = [];
    for (const [key, was] of dirty) {
      // Ours may be behind what was in its way.
      if (!items.has(key) && this.undone.has(key)) return undefined;
      const change = changeFrom(was, items.get(key));
      if (!change || (change.action === 'delete' && !isOurs(change.item, items))) continue;
      const parent = parentOf(change.item);
      if (kindOf(change.item).affectsOthers?.(change.item)) return undefined;
      // Its parent exists, or is handled in the same step.
      if (parent !== undefined && this.undone.has(parent) && !dirty.has(parent)) return undefined;
      if (change.action === 'delete' && !isPruned(change.item, items, this.#prune)) return undefined;
      changes.push(change);
    }
    return changes;
  }
}

function hasUnwanted(actual: KernelState, desired: KernelState): boolean {
  for (const [key, item] of actual) if (isUnwanted(key, item, desired)) return true;
  return false;
}

/** Whether an item is one of the devices or belongs to one. */
function isOnAny(devices: ReadonlySet<string>, item: Item): boolean {
  return devices.has(keyOf(item)) || devices.has(parentOf(item) ?? '');
}

function changeFrom(was: Item | undefined, item: Item | undefined): Change | undefined {
  return item ? changeOf(was, item) : was && { action: 'delete', item: was };
}
