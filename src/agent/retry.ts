import { setTimeout as sleep } from 'node:timers/promises';
import { messageOf } from '../error.ts';
import type { Log } from '../log.ts';

const FIRST_DELAY = 100;
const LONGEST_DELAY = 5000;

/**
 * Does `work` until it succeeds, waiting 100 ms to 5 s between tries (doubling, with jitter so that a cluster's agents do not come
 * back all at once). `failed` hears each new reason. Rejects only when `signal` aborts.
 */
export async function untilDone<T>(
  what: string,
  work: () => Promise<T>,
  context: { readonly signal: AbortSignal; readonly log: Log; readonly failed?: (reason: string) => void },
): Promise<T> {
  let reason = '';
  for (let delay = FIRST_DELAY; ; delay = Math.min(2 * delay, LONGEST_DELAY)) {
    try {
      return await work();
    } catch (error) {
      context.signal.throwIfAborted();
      if (messageOf(error) !== reason) {
        reason = messageOf(error);
        context.log.warn({ what, reason }, 'will try again');
        context.failed?.(reason);
      }
    }
    await sleep(delay * (0.5 + Math.random() / 2), undefined, { signal: context.signal });
  }
}
