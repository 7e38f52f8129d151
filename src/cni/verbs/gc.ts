import { existsSync } from 'node:fs';
import { Fields } from '../../cluster/fields.ts';
import { messageOf } from '../../error.ts';
import type { Owner } from '../../ipam/host-local.ts';
import { reservationsDir } from '../addresses/conf.ts';
import { roleOf } from '../protocol/conf.ts';
import { CniError, CODE } from '../protocol/error.ts';
import type { Invocation } from '../protocol/invocation.ts';
import type { Attachment, DamagedAttachment } from '../records/attachment.ts';
import type { CniState } from '../state.ts';
import { netnsAt } from '../wiring/pod-netns.ts';
import { wiringOf } from '../wiring/registry.ts';
import { removeAttachment } from './del.ts';
import { runNotedDels } from './noted.ts';

/**
 * GC: removes every attachment and reservation of this network that the runtime does not list. The runtime
 * does not call ADD and DEL for the network meanwhile. Continues after errors and reports them together.
 */
export async function gc(call: Invocation, state: CniState): Promise<undefined> {
  if (roleOf(call.conf) === 'loopback') return;
  const valid = validAttachments(call);
  const names = new Set(valid.map(nameOf));
  const errors: unknown[] = [];
  for (const record of state.attachments.list()) {
    if (record.network !== call.network || names.has(nameOf(record))) continue;
    await state.locks
      .run(record.containerId, () => removeAttachment(record, state, call))
      .catch((error) => errors.push(error));
  }
  try {
    state.pools.in(reservationsDir(call, state.context)).gc(valid);
  } catch (error) {
    errors.push(error);
  }
  state.sweeper.soon();
  if (errors.length) throw new CniError(CODE.INTERNAL, errors.map(messageOf).join('; '));
}

/**
 * Our own garbage collection, for runtimes that never call GC and for leftovers of crashes: deletes doomed
 * links, executes noted DELs, removes incomplete attachments and those whose pod is gone, and empty
 * reservations. Other reservations without a record of ours belong to pods created earlier by other plugins
 * and stay. Containers with a call in progress are skipped.
 */
export async function collectGarbage(state: CniState): Promise<void> {
  state.later.cancel();
  await state.sweeper.now();
  await runNotedDels(state);
  for (const seen of state.attachments.list()) {
    const { containerId } = seen;
    // From now on, no other network assigns an address that this one holds, wherever it keeps them.
    if (seen.state !== 'damaged' && seen.dir && existsSync(seen.dir)) state.pools.in(seen.dir);
    if (!isStale(seen, state) || state.locks.isBusy(containerId)) continue;
    await state.locks.run(containerId, async () => {
      // A call may have completed since the records were read.
      const record = state.attachments.readAgain(seen);
      if (record && isStale(record, state)) await removeAttachment(record, state);
    });
  }
  for (const pool of state.pools.all()) pool.sweep();
}

/** Whether a record's pod is gone or was never completed. */
function isStale(record: Attachment | DamagedAttachment, state: CniState): boolean {
  if (record.state !== 'ready' || record.bootId !== state.bootId) return true;
  // Addresses assigned for a plugin that named no namespace: only a DEL or GC shows that they are unused.
  if (record.netnsId === 0 || record.netnsId === netnsAt(record.netns)) return false;
  // A namespace may outlive its path, kept alive by its processes. Its veth then still exists too.
  return !record.hostDevice || !wiringOf(record).hostLink(record, state);
}

function nameOf({ containerId, ifName }: Owner): string {
  return `${containerId} ${ifName}`;
}

/** libcni sends the list under the specification's key and under the one it used earlier. */
function validAttachments({ conf }: Invocation): Owner[] {
  const list = conf.list('cni.dev/valid-attachments') ?? conf.list('cni.dev/attachments') ?? [];
  return list.map((entry, i) => {
    const fields = new Fields(entry, `cni.dev/valid-attachments[${i}]`);
    return { containerId: fields.string('containerID') ?? '', ifName: fields.string('ifname') ?? '' };
  });
}
