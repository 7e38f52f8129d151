import { handleOf, releaseHandle } from '../addresses/blocks.ts';
import { reservationsDir } from '../addresses/conf.ts';
import { roleOf } from '../protocol/conf.ts';
import type { Invocation } from '../protocol/invocation.ts';
import { keyOf } from '../records/attachment.ts';
import type { CniState } from '../state.ts';
import { doom, farEnd } from '../wiring/links.ts';
import { strayLinks } from '../wiring/registry.ts';
import { takeBack } from './take-back.ts';

/**
 * DEL: takes back what ADD gave. Succeeds whether anything of it is there or not, as often as it is called, without namespace,
 * record or reservation.
 */
export async function del(call: Invocation, state: CniState): Promise<undefined> {
  const key = keyOf(call, roleOf(call.conf) === 'ipam' ? 'ipam' : 'interface');
  const record = state.attachments.read(key);
  if (record) return takeBack(record, state, call);
  if (key.role === 'interface') {
    for (const link of strayLinks(key, state)) doom(link, state);
    // The reference plugin made it before this node was ours: its veth is found by the pod's end.
    doom(farEnd(call, state), state);
  }
  state.pools.in(reservationsDir(call, state.context)).release(call);
  if (state.context.assigner && !(await releaseHandle(handleOf(key), state))) {
    state.attachments.write({ ...NOTHING, ...key, handle: handleOf(key) });
  }
}

/** The record of an attachment of which only the addresses are left. */
const NOTHING = { state: 'removing', netns: '', netnsId: 0, bootId: '', dir: '', addresses: [] } as const;
