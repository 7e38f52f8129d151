import { familyOf } from '../ip/address.ts';
import type { Item, RouteItem } from './item.ts';

/** RT_TABLE_MAIN. */
export const MAIN_TABLE = 254;
const keys = new WeakMap<Item, string>();

/** The slot of the kernel an item fills, e.g. `route 254 10.244.1.0/24 0`: two items with one key exclude each other. */
export function keyOf(item: Item): string {
  let key = keys.get(item);
  if (key === undefined) {
    key = makeKey(item);
    keys.set(item, key);
  }
  return key;
}

/** Items by their keys; of two with one key the later stays. */
export function byKey(items: Iterable<Item>): Map<string, Item> {
  const map = new Map<string, Item>();
  for (const item of items) map.set(keyOf(item), item);
  return map;
}

function makeKey(item: Item): string {
  switch (item.kind) {
    case 'link':
      return `link ${item.name}`;
    case 'address':
      return `address ${item.dev} ${item.address}`;
    case 'route':
      return `route ${tableOf(item)} ${item.dst} ${metricOf(item)}`;
    case 'neighbour':
      return `neighbour ${item.dev} ${item.ip}`;
    case 'fdb':
      return `fdb ${item.dev} ${item.mac}`;
    case 'rule':
      return [
        `rule ${item.family} ${item.priority} ${item.table}`,
        `${item.from ?? ''} ${item.to ?? ''} ${item.iif ?? ''} ${item.mark ?? ''}/${item.mask ?? ''}`,
      ].join(' ');
    case 'sysctl':
      return `sysctl ${item.path}`;
    case 'nft':
      return `nft ${item.family} ${item.table}`;
  }
}

export function tableOf(route: RouteItem): number {
  return route.table ?? MAIN_TABLE;
}

export function metricOf(route: RouteItem): number {
  return route.metric ?? defaultMetric(route);
}

/** The kernel gives an IPv6 route without a metric IP6_RT_PRIO_USER. */
export function defaultMetric({ dst }: RouteItem): number {
  return familyOf(dst) === 4 ? 0 : 1024;
}

/** Whether two items say the same, with the kernel's defaults filled in. */
export function same(a: Item, b: Item): boolean {
  if (a === b) return true;
  return a.kind === b.kind && keyOf(a) === keyOf(b) && equal(plain(a), plain(b));
}

function plain(item: Item): object {
  return item.kind === 'route'
    ? { ...item, table: tableOf(item), metric: metricOf(item), onlink: item.onlink ?? false }
    : item;
}

/** Deep equality of plain data; a property that is undefined equals an absent one. */
function equal(a: unknown, b: unknown): boolean {
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return a === b;
  const left = new Map<string, unknown>(Object.entries(a).filter(([, value]) => value !== undefined));
  const right = Object.entries(b).filter(([, value]) => value !== undefined);
  return left.size === right.length && right.every(([name, value]) => equal(left.get(name), value));
}
