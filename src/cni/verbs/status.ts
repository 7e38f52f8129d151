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
 * STATUS: throws CniError 50 while ADD cannot be served: the agent is not ready, or no addresses are left.
 */
export async function status(call: Invocation, state: CniState): Promise<undefined> {
  const { context } = state;
  const role = roleOf(call.conf);
  if (role === 'loopback') return;
  const becomesReady = async () => context.notReady() === undefined || undefined;
  await poll(becomesReady, { every: 50, patience: PATIENCE });
  const reason = context.notReady();
  if (reason) throw new CniError(CODE.NOT_READY, 'the node cannot take pods yet', reason);
  const source =
    role === 'ipam'
      ? sourceFor(call, context).source
      : wiringFor(call, context).plan(call, context).addresses;
  const exhausted = source?.exhausted(state);
  if (exhausted) throw new CniError(CODE.NOT_READY, 'no addresses left', exhausted);
}
