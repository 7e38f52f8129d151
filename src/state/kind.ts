import type { Forwarding } from './forwarding.ts';

/**
 * One thing the kernel should hold, as plain data. Devices are named, never numbered, so that an item means
 * the same before its device exists. Two items with the same key are the same slot; equal items need no work.
 */
export type AnyItem = { readonly kind: string };

/** Items by their keys: what the kernel should hold, or holds. */
export type Items = ReadonlyMap<string, AnyItem>;

/** One step from what the kernel holds to what it should hold. */
export type Change<I extends AnyItem> = {
  /** `recreate`: delete and make anew, as the kernel cannot change the item in place. */
  readonly action: 'add' | 'change' | 'recreate' | 'delete';
  readonly item: I;
  /** What is in the slot now. */
  readonly was?: I;
};

/**
 * The steps of a run, one after the other; within a step changes are made at once. Whatever a route needs
 * comes before the route (make before break). Removal goes backwards through the same steps, after all of
 * them.
 */
export const STAGES = [
  'settings',
  'devices',
  'device settings',
  'device states',
  'addresses',
  'tables',
  'elements',
  'tunnel ends',
  'neighbours',
  'routes',
  'rules',
] as const;
export type Stage = (typeof STAGES)[number];

/** A device as the kernel was last seen to hold it. */
export type Device = {
  readonly up: boolean;
  readonly alias?: string;
  readonly link: { readonly type: string };
};
/** Devices by name. */
export type Devices = ReadonlyMap<string, Device>;

/**
 * Everything about one kind of item, except how its executor sends requests. To add a kind, write
 * `kinds/<kind>.ts` with such an object and list it in `kinds/registry.ts`. Pure.
 */
export interface Kind<I extends AnyItem> {
  readonly kind: I['kind'];
  /** Who reads and changes items of the kind: see `executors/`. */
  readonly executor: string;

  /**
   * The slot of the kernel that the item fills, such as `route 254 10.244.1.0/24 0`. Begins with the kind.
   */
  key(item: I): string;
  /** The device the item hangs on: the two go together. Absent: none. */
  device?(item: I): string | undefined;
  /** The key of the item it hangs on, where that is not a device. */
  parent?(item: I): string | undefined;
  /** The device the item itself is. */
  provides?(item: I): string | undefined;
  /** Other devices the item depends on: changes to them matter. */
  concerns?(item: I): readonly string[];

  /** `isNew`: the device it hangs on, or is, is made in this run. */
  stage(item: I, isNew: boolean): Stage;
  /** Whether items go in the stage in which they come, instead of after everything that comes. */
  readonly isRemovedInPlace?: boolean;
  /** A change that takes several steps. Absent: one. */
  steps?(change: Change<I>): readonly Change<I>[];
  /** Whether a change of the item may affect others, so that the kernel has to be read. Absent: no. */
  entails?(item: I): boolean;
  /**
   * Why a change cannot be made now, besides an absent device. What is blocked waits for the device's
   * arrival.
   */
  blockedBy?(change: Change<I>, devices: Devices): string | undefined;

  /** Whether an item that the kernel holds and nobody wants is ours to remove. */
  isOurs(item: I, desired: Items): boolean;
  /** Whether both say the same, with the kernel's defaults filled in. */
  same(a: I, b: I): boolean;
  /**
   * Whether what the kernel holds is what is wanted: properties that are not asked for may have any value.
   * Absent: `same`.
   */
  satisfies?(actual: I, wanted: I): boolean;
  /** Whether the kernel cannot turn the one into the other. Absent: it can. */
  mustRecreate?(was: I, wanted: I): boolean;
  /** Whether the kernel drops the item when it changes (not remakes) what the item hangs on. Absent: no. */
  isLostBy?(item: I, parent: Change<AnyItem>): boolean;

  /** The command a person would type to have the item, whatever is there now, or to delete it. */
  command(item: I, action: 'add' | 'delete'): string;
  /** The same for a change in place. Absent: as `add`. */
  changeCommand?(item: I, was: I): string;
  /** One line in place of a command of many. */
  summary?(item: I): string;

  /** Enters what the item does to packets into a node's forwarding tables. Absent: nothing. */
  forward?(item: I, tables: Forwarding, items: Items): void;
}

/** Whether an item is of that kind. */
export function isOf<I extends AnyItem>(kind: Kind<I>, item: AnyItem | undefined): item is I {
  return item?.kind === kind.kind;
}

/** Deep equality of plain data; a property that is undefined equals an absent one. */
export function equal(a: unknown, b: unknown): boolean {
  if (a === b) return true;
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return false;
  const left = new Map<string, unknown>(Object.entries(a).filter(([, value]) => value !== undefined));
  const right = Object.entries(b).filter(([, value]) => value !== undefined);
  return left.size === right.length && right.every(([name, value]) => equal(left.get(name), value));
}

/** The words that are not empty, with spaces between them. */
export function words(...parts: readonly string[]): string {
  return parts.filter((part) => part !== '').join(' ');
}
