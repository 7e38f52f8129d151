import { existsSync, rmSync } from 'node:fs';
import { handleOf, releaseHandle } from '../addresses/blocks.ts';
import { reservationsDir, roleOf } from '../protocol/conf.ts';
import { type Invocation, readCommand, readInvocation } from '../protocol/invocation.ts';
import type { Attachment, AttachmentKey, DamagedAttachment } from '../records/attachment.ts';
import { localPod } from '../records/local-pod.ts';
import type { NotedDel } from '../records/noted-del.ts';
import type { CniState } from '../state.ts';
import { doom, farEnd, hostLinks, strayLinks } from '../wiring/host-link.ts';
import { loopbackDel } from './loopback.ts';

/**
 * DEL: takes back what ADD gave. Succeeds whether anything of it is there or not, as often as it is called, without namespace,
 * record or reservation.
 */
export async function detach(call: Invocation, state: CniState): Promise<undefined> {
  const key = keyOf(call, roleOf(call.conf) === 'ipam' ? 'ipam' : 'interface');
  const record = state.attachments.read(key);
  if (record) return takeBack(record, state, call);
  if (key.role === 'interface') {
    for (const link of strayLinks(key, state)) doom(link, state);
    // Made by the reference plugin before this node was ours: its veth is found by the pod's end.
    doom(farEnd(call, state), state);
  }
  state.pools.in(reservationsDir(call, state.context)).release(call);
  if (state.context.assigner && !(await releaseHandle(handleOf(key), state))) {
    state.attachments.write({ ...NOTHING, ...key, handle: handleOf(key) });
  }
}

/** The record of an attachment of which only the addresses are left. */
const NOTHING = { state: 'removing', netns: '', netnsId: 0, bootId: '', dir: '', addresses: [] } as const;

/**
 * Removes all that belongs to a record, then the record. In this order: the record says what is going on, the link stops
 * answering, only then the address is free for another pod.
 */
export async function takeBack(
  record: Attachment | DamagedAttachment,
  state: CniState,
  call?: Invocation,
): Promise<undefined> {
  const whole = record.state === 'damaged' ? undefined : record;
  if (whole) {
    state.attachments.write({ ...whole, state: 'removing' });
    state.step('removal recorded');
    const pod = localPod(whole);
    // Before the link changes, or the agent would put it back where it belongs.
    if (pod) state.context.detached(pod);
  }
  for (const link of hostLinks(record, state)) doom(link, state);
  state.step('link doomed');
  const dir = whole ? whole.dir : call ? reservationsDir(call, state.context) : defaultDir(record, state);
  if (dir) state.pools.in(dir).release(record);
  const handle = whole ? whole.handle : state.context.assigner && handleOf(record);
  // The record stays until the store was told.
  if (handle && !(await releaseHandle(handle, state))) return;
  state.step('addresses released');
  state.attachments.remove(record);
  state.step('record removed');
}

/**
 * Does a DEL that was answered while the agent was away. The container's lock is held by the caller. Who held it before may have done
 * it already, and given the container a new interface.
 */
export async function doNotedDel({ file, request }: NotedDel, state: CniState): Promise<void> {
  if (!existsSync(file)) return;
  try {
    const command = readCommand(request.env);
    if (command === 'DEL') {
      const call = readInvocation(command, request.env, request.stdin);
      await (roleOf(call.conf) === 'loopback' ? loopbackDel(call, state) : detach(call, state));
    }
  } catch (error) {
    state.context.warn(`a DEL noted in ${file}`, error);
  }
  rmSync(file, { force: true });
}

export function keyOf(call: Invocation, role: AttachmentKey['role']): AttachmentKey {
  return { network: call.network, containerId: call.containerId, ifName: call.ifName, role };
}

function defaultDir({ network }: AttachmentKey, { context }: CniState): string {
  return `${context.dataDir}/${network}`;
}
