import { setTimeout as sleep } from 'node:timers/promises';
import { codeOf, messageOf } from '../error.ts';
import type { Log } from '../log.ts';

const FIRST_DELAY = 100;
const LONGEST_DELAY = 5000;
/** Only a person can mend these, and should see the agent fail. */
const HOPELESS = new Set(['NAME_TAKEN', 'NAME_INVALID']);

/**
 * Does `work` until it succeeds, waiting 100 ms to 5 s between tries (doubling, with jitter so that a cluster's agents do not come
 * back all at once). `failed` hears each new reason. Rejects when `signal` aborts, and at once with an error that no waiting mends.
 */
export async function untilDone<T>(
  what: string,
  work: () => Promise<T>,
  context: {
    readonly signal: AbortSignal;
    readonly log: Log;
    readonly failed?: (reason: string, error: unknown) => void;
  },
): Promise<T> {
  let reason = '';
  for (let delay = FIRST_DELAY; ; delay = Math.min(2 * delay, LONGEST_DELAY)) {
    try {
      return await work();
    } catch (error) {
      context.signal.throwIfAborted();
      if (HOPELESS.has(codeOf(error) ?? '')) throw error;
      if (messageOf(error) !== reason) {
        reason = messageOf(error);
        context.log.warn({ what, reason }, 'will try again');
        context.failed?.(reason, error);
      }
    }
    await sleep(delay * (0.5 + Math.random() / 2), undefined, { signal: context.signal });
  }
}
