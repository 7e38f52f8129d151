import { FlatnetError } from '../error.ts';
import type { Contribution } from '../state/contributions.ts';
import { devicesOf, type Item, keyOf, kindOf, parentOf } from '../state/item.ts';
import { isOptional } from '../state/kinds/nft-table.ts';
import type { Report } from '../state/reporter.ts';
import type { Undone } from '../state/undone.ts';

const CONSTRAINTS: ReadonlySet<Item['kind']> = new Set(['nft-element', 'qdisc', 'redirect']);

/** Whether some of a pod's items limit what it may send or receive. */
export function isConstrained({ items }: Pick<Contribution, 'items'>): boolean {
  return items.some(isConstraint);
}

/**
 * The items that a pod waits for: what limits what it may send or receive, and the devices that needs. ADD
 * has made the others itself; they are checked once it is answered.
 */
export function urgentItems({ items }: Pick<Contribution, 'items'>): readonly Item[] {
  const devices = new Set(items.filter(isConstraint).flatMap(devicesOf));
  return items.filter((item) => isConstraint(item) || devices.has(kindOf(item).provides?.(item) ?? ''));
}

/**
 * Why a pod must not start yet: the kernel lacks some of what constrains it; undefined if it lacks nothing. A
 * pod's other items, such as its device's settings, were made by ADD itself and are repaired later. On a
 * kernel without nftables for bridges, bridged pods run unguarded, and the status says so (`unguarded` in
 * `report.ts`).
 */
export function refusal(
  { items }: Pick<Contribution, 'items'>,
  { undone, unknown }: Pick<Report, 'undone' | 'unknown'>,
): string | undefined {
  if (unknown !== undefined) return unknown;
  const byKey = new Map(undone.map((each) => [keyOf(each.change.item), each]));
  for (const item of items) {
    const own = isConstraint(item) ? byKey.get(keyOf(item)) : undefined;
    if (!own) continue;
    const cause = byKey.get(parentOf(item) ?? '') ?? own;
    // nft repeats itself for each line of a table.
    const [reason] = cause.reason.split('\n');
    if (!isUnsupported(cause)) return `${keyOf(cause.change.item)}: ${reason}`;
  }
  return undefined;
}

function isConstraint({ kind }: Item): boolean {
  return CONSTRAINTS.has(kind);
}

/** Whether the kernel has no tables for bridges, or for ARP, at all. */
function isUnsupported({ change: { item }, error }: Undone): boolean {
  const isTable = item.kind === 'nft-table' && isOptional(item.family);
  return isTable && error instanceof FlatnetError && error.code === 'KERNEL_FEATURE';
}
