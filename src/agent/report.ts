import { messageOf } from '../error.ts';
import { deviceOf, keyOf } from '../state/item.ts';
import type { Report } from '../state/reconciler.ts';

type Undone = Pick<Report, 'failed' | 'waiting'>;

/**
 * Why the node can't take pods, as far as the kernel is concerned: its own devices and their addresses must be there. A single peer
 * that is out of reach is no reason.
 */
export function ownProblem({ failed, waiting }: Undone): string | undefined {
  const own = [...failed, ...waiting].find(
    ({ change: { item } }) =>
      item.kind === 'address' || (item.kind === 'link' && item.link.type !== 'existing'),
  );
  if (!own) return undefined;
  const reason = 'error' in own ? messageOf(own.error) : own.reason;
  return `the kernel refuses ${keyOf(own.change.item)}: ${reason}`;
}

/** What could not be done, each reason once. What only waits for a device that could not be made says nothing new. */
export function failures({ failed, waiting }: Undone): string[] {
  const refused = new Set(
    failed.flatMap(({ change: { item } }) => (item.kind === 'link' ? [item.name] : [])),
  );
  const others = waiting.filter(({ change: { item } }) => !refused.has(deviceOf(item) ?? ''));
  return [
    ...new Set([...failed.map(({ error }) => messageOf(error)), ...others.map(({ reason }) => reason)]),
  ];
}
