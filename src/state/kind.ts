import type { Forwarding } from './forwarding.ts';

/**
 * Something the kernel should hold, as plain data. Devices are referred to by name, never by index, so that
 * an item means the same before its device exists. Items with the same key fill the same slot; equal items
 * need no change.
 */
export type AnyItem = { readonly kind: string };

/** The kernel's desired or actual state: items by key. */
export type Items = ReadonlyMap<string, AnyItem>;

/** One step from the kernel's actual state to the desired one. */
export type Change<I extends AnyItem> = {
  /** `recreate`: delete and add again, as the kernel can't change the item in place. */
  readonly action: 'add' | 'change' | 'recreate' | 'delete';
  readonly item: I;
  /** The item currently in the slot. */
  readonly was?: I;
};

/**
 * The stages of a run, in order; the changes of a stage are applied together. Everything that a route needs
 * comes before the route (make before break). Removals follow, in reverse order of stages.
 */
export const STAGES = [
  'settings',
  'devices',
  'device settings',
  'device states',
  'queues',
  'filters',
  'addresses',
  'tables',
  'elements',
  'tunnel ends',
  'neighbours',
  'routes',
  'rules',
] as const;
export type Stage = (typeof STAGES)[number];

/** A device as last read from the kernel. */
export type Device = {
  readonly up: boolean;
  readonly alias?: string;
  readonly link: { readonly type: string };
};
/** Devices by name. */
export type Devices = ReadonlyMap<string, Device>;

/**
 * Everything about one kind of item, except how its executor sends requests. To add a kind, implement this in
 * `kinds/<kind>.ts` and list it in `kinds/registry.ts`. Pure.
 */
export interface Kind<I extends AnyItem> {
  readonly kind: I['kind'];
  /** Name of the executor that reads and changes items of the kind: see `executors/`. */
  readonly executor: string;

  /**
   * The slot in the kernel that the item fills, such as `route 254 10.244.1.0/24 0`. Begins with the kind.
   */
  key(item: I): string;
  /** The device the item belongs to and disappears with. Absent: none. */
  device?(item: I): string | undefined;
  /** The key of the item it depends on, if not a device. */
  parent?(item: I): string | undefined;
  /** The name of the device, if the item is one. */
  provides?(item: I): string | undefined;
  /** Other devices that the item depends on. */
  dependsOn?(item: I): readonly string[];

  /** `isNew`: this run creates the device that the item is or belongs to. */
  stage(item: I, isNew: boolean): Stage;
  /** Whether items are removed in the stage in which they are added, instead of after all additions. */
  readonly isRemovedInPlace?: boolean;
  /** Splits a change into several steps. Absent: one. */
  steps?(change: Change<I>): readonly Change<I>[];
  /** Whether changing the item may affect other items, so that the kernel has to be read. Absent: no. */
  affectsOthers?(item: I): boolean;
  /**
   * Why a change can't be made now, other than its device being absent. A blocked change waits for the
   * device.
   */
  blockedBy?(change: Change<I>, devices: Devices): string | undefined;

  /** Whether an undesired item in the kernel is ours to remove. */
  isOurs(item: I, desired: Items): boolean;
  /** Whether both are equal, with the kernel's defaults filled in. */
  same(a: I, b: I): boolean;
  /**
   * Whether the actual item satisfies the desired one: unspecified properties may have any value. Absent:
   * `same`.
   */
  satisfies?(actual: I, wanted: I): boolean;
  /** Whether the kernel can't change one into the other in place. Absent: it can. */
  mustRecreate?(was: I, wanted: I): boolean;
  /** Whether the kernel drops the item when its parent is changed (not recreated). Absent: no. */
  isLostBy?(item: I, parent: Change<AnyItem>): boolean;

  /** The command a person would type to set the item, whatever its current state, or to delete it. */
  command(item: I, action: 'add' | 'delete'): string;
  /** The command for a change in place. Absent: as `add`. */
  changeCommand?(item: I, was: I): string;
  /** One line that replaces a multi-line command. */
  summary?(item: I): string;

  /** Adds the item's effect on packets to a node's forwarding tables. Absent: none. */
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
  return isWithin(a, b, equal) && isWithin(b, a, isPresent);
}

/** Without lists of properties: a start with 5,000 peers compares 20,000 items. */
function isWithin(a: object, b: object, holds: (value: unknown, other: unknown) => boolean): boolean {
  for (const name of Object.keys(a)) if (!holds(ownValue(a, name), ownValue(b, name))) return false;
  return true;
}

function isPresent(value: unknown, other: unknown): boolean {
  return value === undefined || other !== undefined;
}

function ownValue(object: object, name: string): unknown {
  return Object.hasOwn(object, name) ? (object as Readonly<Record<string, unknown>>)[name] : undefined;
}

/** Joins the non-empty words with spaces. */
export function words(...parts: readonly string[]): string {
  return parts.filter((part) => part !== '').join(' ');
}
