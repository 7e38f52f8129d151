import { releaseHandle } from '../addresses/blocks.ts';
import { reservationsDir } from '../addresses/conf.ts';
import { leaseIdOf } from '../addresses/dhcp.ts';
import { releaseAddresses } from '../addresses/held.ts';
import { roleOf } from '../protocol/conf.ts';
import type { Invocation } from '../protocol/invocation.ts';
import { type Attachment, type DamagedAttachment, handleOf, keyOf } from '../records/attachment.ts';
import { localPod } from '../records/local-pod.ts';
import type { CniState } from '../state.ts';
import { doom, hostEndOf } from '../wiring/links.ts';
import { removeStray } from '../wiring/physical/wiring.ts';
import { removeLink, strayLinks } from '../wiring/registry.ts';

/** DEL: undoes ADD. Idempotent: succeeds even without a namespace, record or reservation. */
export async function del(call: Invocation, state: CniState): Promise<undefined> {
  const key = keyOf(call, roleOf(call.conf) === 'ipam' ? 'ipam' : 'interface');
  const record = state.attachments.read(key);
  if (record?.state === 'damaged' && key.role === 'interface') removeStray(call, state);
  if (record) return removeAttachment(record, state, call);
  if (key.role === 'interface') {
    removeStray(call, state);
    for (const link of strayLinks(key, state)) doom(link, state);
    state.context.leases?.release(leaseIdOf(key));
    // Created by the reference plugin before this node used flatnet: the pod's end leads to its veth.
    doom(hostEndOf(call, state), state);
  }
  const own = state.pools.in(reservationsDir(call, state.context));
  // flannel's network may have another name: a takeover moves its reservations to ours, so those come first.
  if (key.role === 'interface')
    for (const pool of state.pools.all()) if (pool !== own) pool.release(call, { exactly: true });
  own.release(call);
  if (state.context.assigner && !(await releaseHandle(handleOf(key), state))) {
    state.attachments.write({ ...NOTHING, ...key, handle: handleOf(key) });
  }
}

/** Fields for the record of an attachment of which only addresses are left. */
const NOTHING = { state: 'removing', netns: '', netnsId: 0, bootId: '', dir: '', addresses: [] } as const;

/**
 * Removes everything that belongs to a record, then the record. The order matters: first the record is
 * marked, then the link stops answering and no host port leads to the pod any more, and only then is the
 * address released for other pods. `call`: the DEL or GC that caused the removal.
 */
export async function removeAttachment(
  record: Attachment | DamagedAttachment,
  state: CniState,
  call?: Invocation,
): Promise<undefined> {
  const pod = record.state === 'damaged' ? undefined : localPod(record);
  if (record.state !== 'damaged') {
    state.attachments.write({ ...record, state: 'removing' });
    state.step('removal recorded');
    // Before the link changes, or the agent would repair it.
    if (pod) state.context.detached(pod);
  }
  removeLink(record, state);
  state.step('link doomed');
  if (pod?.hostPorts) await state.context.released?.(pod);
  // The record stays until the store has released the addresses.
  if (!(await releaseAddresses(record, state, call))) return;
  state.step('addresses released');
  state.attachments.remove(record);
  state.step('record removed');
}
