import type { Problem } from '../problem.ts';
import { devicesOf, type Item, type KernelState, keyOf, same } from './item.ts';

/** Precedence when two owners want the same key. */
const PARTS = [
  'backend',
  'wiring',
  'guard',
  'policy',
  'offload',
  'masquerade',
  'host-ports',
  'pod',
  'peer',
  'former',
] as const;

/**
 * The origin of some items: a part of this node, one of its pods, or another node. `former`: formerly desired
 * items that stay until replaced, and yield silently.
 */
export type Owner = {
  readonly part: (typeof PARTS)[number];
  /** For people. */
  readonly name: string;
  /** Tells owners of one name apart, such as two sandboxes of a pod. */
  readonly id?: string;
};

/** The items that one owner wants the kernel to hold. Remains the same object as long as its content does. */
export type Contribution = {
  readonly owner: Owner;
  readonly items: readonly Item[];
  /** The owner's problems, for people. */
  readonly warnings: readonly Problem[];
};

type Claim = { readonly item: Item; readonly by: Contribution };

/**
 * Contributions merged: one item per key. If two owners want the same key, the first by `PARTS` and name
 * wins, and the other is reported as a conflict. The cost of an update depends on the changes alone, apart
 * from one pointer comparison per contribution.
 */
export class Composition {
  #list: readonly Contribution[] = [];
  readonly #items = new Map<string, Item>();
  readonly #owners = new Map<string, Contribution>();
  /** All claims to contested keys. */
  readonly #rivals = new Map<string, Claim[]>();
  /** Contributions with warnings. */
  readonly #warners = new Set<Contribution>();
  #warnings: readonly Problem[] | undefined;
  /** Number of items that involve each device. */
  readonly #devices = new Map<string, number>();
  /** During an update: the former item of each touched key. */
  #before = new Map<string, Item | undefined>();

  /** By key. Changes with each update. */
  get items(): KernelState {
    return this.#items;
  }

  /** Undefined for unclaimed keys. */
  ownerOf(key: string): Owner | undefined {
    return this.#owners.get(key)?.owner;
  }

  /** Whether any item involves the device. */
  involves(device: string): boolean {
    return this.#devices.has(device);
  }

  /**
   * Owners' problems and lost claims, for people. Remains the same list until something in it may have
   * changed.
   */
  get warnings(): readonly Problem[] {
    const ofOwners = () => [...this.#warners].sort(byPrecedence).flatMap(({ warnings }) => warnings);
    this.#warnings ??= [...ofOwners(), ...this.#conflicts()];
    return this.#warnings;
  }

  /**
   * Replaces the contributions; unchanged objects cost nothing. Returns the former item of each changed key.
   */
  update(list: readonly Contribution[]): ReadonlyMap<string, Item | undefined> {
    const [removed, added] = differences(this.#list, list);
    this.#list = list;
    for (const contribution of removed) this.#remove(contribution);
    for (const contribution of added) this.#add(contribution);
    const before = this.#before;
    this.#before = new Map();
    for (const [key, was] of before) {
      const item = this.#items.get(key);
      if (item === was) before.delete(key);
      else if (was && item && same(was, item)) {
        this.#items.set(key, was);
        before.delete(key);
      }
    }
    return before;
  }

  /** Adds one contribution to the present ones, beside others of its part. Returns what `update` does. */
  add(contribution: Contribution): ReadonlyMap<string, Item | undefined> {
    if (this.#list.includes(contribution)) return new Map();
    const { part } = contribution.owner;
    // Where the next list will probably have it: `update` skips what both have at the same place.
    const at = this.#list.findLastIndex(({ owner }) => owner.part === part) + 1;
    return this.update(this.#list.toSpliced(at, 0, contribution));
  }

  #conflicts(): Problem[] {
    const conflicts: Problem[] = [];
    for (const [key, [winner, ...losers]] of this.#rivals) {
      for (const { item, by } of losers) {
        if (!winner || isSilent(by, winner.by) || same(item, winner.item)) continue;
        const what = `${by.owner.name}: ignored '${key}', already claimed by ${winner.by.owner.name}`;
        conflicts.push({ id: 'item-claimed-twice', severity: 'warning', what });
      }
    }
    return conflicts.sort((a, b) => compare(a.what, b.what));
  }

  #add(by: Contribution): void {
    if (by.warnings.length > 0) {
      this.#warners.add(by);
      this.#warnings = undefined;
    }
    for (const item of by.items) {
      const key = keyOf(item);
      const owner = this.#owners.get(key);
      if (owner === undefined) {
        this.#put(key, item, by);
        continue;
      }
      const present = this.#items.get(key);
      const rivals = this.#rivals.get(key) ?? (present ? [{ item: present, by: owner }] : []);
      // An owner may list the same item twice: two blocks of a peer share its FDB entry.
      if (rivals.some((claim) => claim.by === by)) continue;
      rivals.push({ item, by });
      rivals.sort((a, b) => byPrecedence(a.by, b.by));
      this.#rivals.set(key, rivals);
      this.#choose(key, rivals);
    }
  }

  #remove(by: Contribution): void {
    if (this.#warners.delete(by)) this.#warnings = undefined;
    for (const item of by.items) {
      const key = keyOf(item);
      const rivals = this.#rivals.get(key)?.filter((claim) => claim.by !== by);
      if (rivals) {
        if (rivals.length < 2) this.#rivals.delete(key);
        else this.#rivals.set(key, rivals);
        this.#choose(key, rivals);
      } else if (this.#owners.get(key) === by) this.#put(key, undefined, undefined);
    }
  }

  #choose(key: string, [winner]: readonly Claim[]): void {
    this.#warnings = undefined;
    if (winner) this.#put(key, winner.item, winner.by);
  }

  #put(key: string, item: Item | undefined, by: Contribution | undefined): void {
    const was = this.#items.get(key);
    if (!this.#before.has(key)) this.#before.set(key, was);
    if (was !== item) {
      if (was) this.#count(was, -1);
      if (item) this.#count(item, 1);
    }
    if (item && by) {
      this.#items.set(key, item);
      this.#owners.set(key, by);
    } else {
      this.#items.delete(key);
      this.#owners.delete(key);
    }
  }

  #count(item: Item, change: 1 | -1): void {
    for (const device of devicesOf(item)) {
      const count = (this.#devices.get(device) ?? 0) + change;
      if (count > 0) this.#devices.set(device, count);
      else this.#devices.delete(device);
    }
  }
}

function isSilent({ owner }: Contribution, winner: Contribution): boolean {
  return owner.part === 'former' || owner.name === winner.owner.name;
}

function byPrecedence(a: Contribution, b: Contribution): number {
  return (
    PARTS.indexOf(a.owner.part) - PARTS.indexOf(b.owner.part) ||
    compare(a.owner.name, b.owner.name) ||
    compare(a.owner.id ?? '', b.owner.id ?? '')
  );
}

function compare(a: string, b: string): number {
  return a === b ? 0 : a < b ? -1 : 1;
}

/** Elements that are in only one of the lists. A common prefix and suffix are skipped. */
function differences<T>(
  before: readonly T[],
  after: readonly T[],
): [removed: readonly T[], added: readonly T[]] {
  const shorter = Math.min(before.length, after.length);
  let start = 0;
  while (start < shorter && before[start] === after[start]) start++;
  let end = 0;
  while (end < shorter - start && before[before.length - 1 - end] === after[after.length - 1 - end]) {
    end++;
  }
  const old = before.slice(start, before.length - end);
  const now = after.slice(start, after.length - end);
  const [oldSet, newSet] = [new Set(old), new Set(now)];
  return [old.filter((each) => !newSet.has(each)), now.filter((each) => !oldSet.has(each))];
}
