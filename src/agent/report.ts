import { deviceOf, keyOf } from '../state/item.ts';
import type { Undone } from '../state/undone.ts';

/**
 * Why the node can't take pods, as far as the kernel is concerned: what they need of it is the backend's and
 * the wiring's. A pod that is broken or a peer that is out of reach is no reason.
 */
export function ownProblem(undone: readonly Undone[]): string | undefined {
  const own = undone.find(({ owner }) => owner?.part === 'backend' || owner?.part === 'wiring');
  return own && `the kernel refuses ${keyOf(own.change.item)}: ${own.reason}`;
}

/**
 * What could not be done, each reason once. What only waits for a device that could not be made says nothing
 * new.
 */
export function failures(undone: readonly Undone[]): string[] {
  const refused = new Set(
    undone.flatMap(({ change: { item }, error }) => (error && item.kind === 'link' ? [item.name] : [])),
  );
  const telling = undone.filter(({ change: { item }, error }) => error || !refused.has(deviceOf(item) ?? ''));
  return [...new Set(telling.map(({ reason }) => reason))];
}
