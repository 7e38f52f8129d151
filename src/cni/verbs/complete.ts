import type { Attachment } from '../records/attachment.ts';
import { localPod } from '../records/local-pod.ts';
import type { CniState } from '../state.ts';
import { derivedMacs, shownMac } from '../wiring/mac.ts';
import { macOf } from './identity.ts';

/**
 * Completes the record of a running pod that an earlier version wrote: with the MAC of its interface, and
 * with a second copy of what it asked for. A disk that is full or read-only only means that the next agent
 * does so again.
 */
export function complete(record: Attachment, state: CniState): Attachment {
  const { attachments, context } = state;
  const full = record.mac === undefined ? withMac(record, state) : record;
  try {
    if (!attachments.keepsRequests(full)) attachments.keepRequests(asAsked(full, state));
    if (full !== record) attachments.write(full);
  } catch (error) {
    context.warn(`completing the record of ${record.containerId}`, error);
  }
  const pod = full === record ? undefined : localPod(full);
  if (pod) context.attached(pod);
  return full;
}

/** What an attachment asked for: its MAC only if that is not the one we would have given it. */
export function asAsked({ mac, ...record }: Attachment, { context }: CniState): Attachment {
  const derived = derivedMacs({ ...record, bridge: record.bridge ?? context.bridge });
  return { ...record, state: 'adding', ...(mac && !derived.includes(mac) && { mac }) };
}

/** Other plugins' interfaces are their own business. */
function withMac(record: Attachment, state: CniState): Attachment {
  if (record.role !== 'interface' || !record.hostDevice || record.chained) return record;
  const { mac, isCertain } = macOf(record, { shown: shownMac(record, state), mayHaveAsked: true }, state);
  const lost = new Set([...(record.lost ?? []), ...(isCertain ? [] : ['mac' as const])]);
  return { ...record, mac, ...(lost.size > 0 && { lost: [...lost] }) };
}
