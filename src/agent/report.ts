import { deviceOf, type Item, keyOf } from '../state/item.ts';
import type { LinkItem } from '../state/kinds/link/item.ts';
import type { Report } from '../state/reporter.ts';
import type { Undone } from '../state/undone.ts';

/** Whose items without an id, which those of single pods have, are the node's own. */
const OWN: readonly string[] = ['backend', 'wiring', 'policy'];

/**
 * Returns why the node can't take pods because of the kernel: a failed change of the backend, the wiring or
 * what policies need. A broken pod or an unreachable peer is not one.
 */
export function ownProblem(undone: readonly Undone[]): string | undefined {
  const own = undone.find(({ owner }) => owner && OWN.includes(owner.part) && owner.id === undefined);
  if (!own) return undefined;
  return `${own.error ? 'the kernel refuses ' : ''}${keyOf(own.change.item)}: ${own.reason}`;
}

/** Why pods on the bridge are not guarded: the kernel lacks something. */
export function unguarded(undone: readonly Undone[]): string | undefined {
  return undone.find(({ change: { item }, error }) => isBridgeTable(item) && error)?.reason;
}

function isBridgeTable(item: Item): boolean {
  return item.kind === 'nft-table' && item.family === 'bridge';
}

/**
 * Returns the reasons of failed changes, without duplicates. Changes that only wait for a device the kernel
 * refused to create are left out.
 */
export function failures(undone: readonly Undone[]): string[] {
  const refused = new Set(
    undone.flatMap(({ change: { item }, error }) => (error && item.kind === 'link' ? [item.name] : [])),
  );
  const isOfGuard = ({ change: { item } }: Undone): boolean =>
    isBridgeTable(item) || (item.kind === 'nft-element' && item.family === 'bridge');
  const relevant = undone.filter(
    (each) =>
      (each.error || !refused.has(deviceOf(each.change.item) ?? '')) &&
      !(unguarded(undone) && isOfGuard(each)),
  );
  return [
    ...new Set(
      relevant.map(({ owner, reason }) => (owner?.part === 'pod' ? `pod ${owner.name}: ` : '') + reason),
    ),
  ];
}

/** Returns the host devices of pods that are absent. */
export function vanishedDevices(undone: readonly Undone[]): ReadonlySet<string> {
  const devices = undone.flatMap(({ owner, change: { item }, error }) =>
    owner?.part === 'pod' && item.kind === 'link' && !error ? [item.name] : [],
  );
  return new Set(devices);
}

/** Each device once, though creating and configuring it are separate changes. */
export function touchedDevices(done: Report['done']): Iterable<LinkItem> {
  const devices = new Map<string, LinkItem>();
  for (const { action, item } of done) {
    if (action === 'delete' || item.kind !== 'link' || item.link.type === 'existing') continue;
    devices.set(item.name, item);
  }
  return devices.values();
}
