import { codeOf, type ErrorCode, messageOf } from '../error.ts';
import type { Log } from '../log.ts';
import { Backoff } from './backoff.ts';
import { pause } from './pause.ts';

export type UntilDone = {
  readonly signal: AbortSignal;
  readonly log: Log;
  /** Called with each new reason for failure. */
  readonly failed?: (reason: string, error: unknown) => void;
  /** Codes of errors that waiting cannot cure. */
  readonly hopeless?: readonly ErrorCode[];
  /** Default: 100 ms doubling to 5 s, with jitter. */
  readonly backoff?: Backoff;
};

/**
 * Repeats `work` until it succeeds, backing off between attempts, from the start once it fails in another
 * way. Logs each new reason for failure once. Rejects with the signal's reason if it aborts, and immediately
 * with an error whose code is hopeless.
 */
export async function untilDone<T>(what: string, work: () => Promise<T>, options: UntilDone): Promise<T> {
  const { signal, log, failed, hopeless = [], backoff = new Backoff() } = options;
  let last = '';
  let lastCode: string | undefined;
  for (;;) {
    signal.throwIfAborted();
    try {
      return await work();
    } catch (error) {
      signal.throwIfAborted();
      const code = codeOf(error);
      if (hopeless.some((each) => each === code)) throw error;
      const reason = messageOf(error);
      if (reason !== last) {
        log.warn({ what, reason }, 'will try again');
        failed?.(reason, error);
      }
      last = reason;
      if (lastCode !== undefined && code !== lastCode) backoff.startOver();
      lastCode = code;
    }
    await pause(backoff.next(), signal);
  }
}
