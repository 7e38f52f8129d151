import { messageOf } from '../error.ts';
import { deviceOf } from '../state/item.ts';
import type { Report } from '../state/reconciler.ts';

/** What could not be done, each once: what only waits for a device that could not be made says nothing new. */
export function troubles({ failed, waiting }: Pick<Report, 'failed' | 'waiting'>): string[] {
  const refused = new Set(
    failed.flatMap(({ change: { item } }) => (item.kind === 'link' ? [item.name] : [])),
  );
  const others = waiting.filter(({ change: { item } }) => !refused.has(deviceOf(item) ?? ''));
  return [
    ...new Set([...failed.map(({ error }) => messageOf(error)), ...others.map(({ reason }) => reason)]),
  ];
}
