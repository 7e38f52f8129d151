import type { Change as ChangeOf, Kind } from './kind.ts';
import { type Item, KINDS } from './kinds/registry.ts';

export type { Item } from './kinds/registry.ts';

/** The kernel's desired or actual state: items by `keyOf`. */
export type KernelState = ReadonlyMap<string, Item>;

/** A change of an item of any kind. */
export type Change = ChangeOf<Item>;

const byName = new Map<string, Kind<Item>>(KINDS.map((kind) => [kind.kind, kind]));
const keys = new WeakMap<Item, string>();

/** Returns the definition of an item's kind. */
export function kindOf({ kind }: Pick<Item, 'kind'>): Kind<Item> {
  const found = byName.get(kind);
  if (!found) throw new TypeError(`unknown item kind: ${kind}`);
  return found;
}

/** The slot in the kernel that an item fills: items with the same key exclude each other. */
export function keyOf(item: Item): string {
  let key = keys.get(item);
  if (key === undefined) {
    key = kindOf(item).key(item);
    keys.set(item, key);
  }
  return key;
}

/** The device that an item belongs to and disappears with. */
export function deviceOf(item: Item): string | undefined {
  return kindOf(item).device?.(item);
}

/** The key of the item that an item depends on: a device, or whatever its kind defines. */
export function parentOf(item: Item): string | undefined {
  const kind = kindOf(item);
  const dev = kind.device?.(item);
  return dev === undefined ? kind.parent?.(item) : device(dev).key;
}

/** The names of all devices an item involves. */
export function devicesOf(item: Item): readonly string[] {
  const kind = kindOf(item);
  const own = kind.device?.(item) ?? kind.provides?.(item);
  const others = kind.dependsOn?.(item) ?? [];
  if (own === undefined) return others;
  return others.length === 0 ? device(own).alone : [own, ...others];
}

/**
 * Keys of devices, cached: thousands of items belong to a few devices, and every lookup with a fresh string
 * hashes it again.
 */
const devices = new Map<string, { readonly key: string; readonly alone: readonly string[] }>();
const MAX_REMEMBERED = 2000;

function device(name: string) {
  let known = devices.get(name);
  if (!known) {
    if (devices.size >= MAX_REMEMBERED) devices.clear();
    known = { key: `link ${name}`, alone: [name] };
    devices.set(name, known);
  }
  return known;
}

/** Whether two items are equal, with the kernel's defaults filled in. */
export function same(a: Item, b: Item): boolean {
  return a === b || (a.kind === b.kind && keyOf(a) === keyOf(b) && kindOf(a).same(a, b));
}

/** Whether the item in a slot of the kernel satisfies the desired one. */
export function satisfies(actual: Item, wanted: Item): boolean {
  if (actual === wanted) return true;
  const kind = kindOf(wanted);
  return actual.kind === wanted.kind && (kind.satisfies ?? kind.same)(actual, wanted);
}

/**
 * Whether an undesired item in the kernel is ours to remove. Everything else on the host is read, never
 * changed. An earlier flannel's leftovers are ours only where we want the same slot: they are then corrected,
 * not removed.
 */
export function isOurs(item: Item, desired: KernelState): boolean {
  return kindOf(item).isOurs(item, desired);
}
