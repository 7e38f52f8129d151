import { releaseAddresses } from '../addresses/held.ts';
import type { Invocation } from '../protocol/invocation.ts';
import type { Attachment, DamagedAttachment } from '../records/attachment.ts';
import { localPod } from '../records/local-pod.ts';
import type { CniState } from '../state.ts';
import { doom } from '../wiring/links.ts';
import { hostLinks } from '../wiring/registry.ts';

/**
 * Removes all that belongs to a record, then the record. In this order: the record says what is going on, the link stops
 * answering, only then the address is free for another pod. `call`: the DEL or GC that asks for it.
 */
export async function takeBack(
  record: Attachment | DamagedAttachment,
  state: CniState,
  call?: Invocation,
): Promise<undefined> {
  if (record.state !== 'damaged') {
    state.attachments.write({ ...record, state: 'removing' });
    state.step('removal recorded');
    const pod = localPod(record);
    // Before the link changes, or the agent would put it back where it belongs.
    if (pod) state.context.detached(pod);
  }
  for (const link of hostLinks(record, state)) doom(link, state);
  state.step('link doomed');
  // The record stays until the store has been told.
  if (!(await releaseAddresses(record, state, call))) return;
  state.step('addresses released');
  state.attachments.remove(record);
  state.step('record removed');
}
