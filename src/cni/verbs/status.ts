import { poll } from '../../async/poll.ts';
import { roleOf } from '../protocol/conf.ts';
import { CniError, CODE } from '../protocol/error.ts';
import type { Invocation } from '../protocol/invocation.ts';
import type { CniState } from '../state.ts';
import { wiringFor } from '../wiring/registry.ts';
import { sourceFor } from './add-addresses.ts';

/** Milliseconds to become ready in: an agent that has just started soon is. The shim waits for 3 s. */
const PATIENCE = 2000;

/**
 * STATUS: throws CniError 50 while the agent is not ready, and others for a configuration that no ADD could
 * use. A node without free addresses is ready: a kubelet would call it not ready, and have its running pods
 * evicted. There the ADD says what is missing.
 */
export async function status(call: Invocation, { context }: CniState): Promise<undefined> {
  const role = roleOf(call.conf);
  if (role === 'loopback') return;
  const becomesReady = async () => context.notReady() === undefined || undefined;
  await poll(becomesReady, { every: 50, patience: PATIENCE });
  const reason = context.notReady();
  if (reason) throw new CniError(CODE.NOT_READY, 'the node cannot take pods yet', reason);
  if (role === 'ipam') sourceFor(call, context);
  else wiringFor(call, context).plan(call, context);
}
