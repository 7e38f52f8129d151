import type { Attachment } from '../records/attachment.ts';
import type { CniState } from '../state.ts';
import { netnsAt } from '../wiring/pod-netns.ts';
import { linkOf } from '../wiring/registry.ts';

/** Whether a record's pod is gone or was never completed. */
export function isStale(record: Attachment, state: CniState): boolean {
  if (record.state !== 'ready' || record.bootId !== state.bootId) return true;
  // Addresses assigned for a plugin that named no namespace: only a DEL or GC shows that they are unused.
  if (record.netnsId === 0 || record.netnsId === netnsAt(record.netns)) return false;
  // A namespace may outlive its path, kept alive by its processes. Its interface then still exists too.
  return linkOf(record, state) === undefined;
}
