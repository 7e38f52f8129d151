import { Fields } from '../../cluster/fields.ts';
import { messageOf } from '../../error.ts';
import type { Owner } from '../../ipam/host-local.ts';
import { reservationsDir } from '../addresses/conf.ts';
import { roleOf } from '../protocol/conf.ts';
import { CniError, CODE } from '../protocol/error.ts';
import type { Invocation } from '../protocol/invocation.ts';
import type { CniState } from '../state.ts';
import { removeAttachment } from './del.ts';

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
