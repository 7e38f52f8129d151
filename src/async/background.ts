import { FlatnetError, messageOf } from '../error.ts';
import type { Log } from '../log.ts';

/**
 * Detaches a promise that nobody awaits, and logs its rejection: `void` is only for one that never rejects.
 * Once `signal` has aborted, a rejection is how the work ends, and is not logged.
 */
export function background(what: string, promise: Promise<unknown>, log: Log, signal?: AbortSignal): void {
  promise.catch((error: unknown) => {
    if (!signal?.aborted) logFailure(what, error, log);
  });
}

/**
 * Logs a failure, the same way everywhere. An error that is not ours is a bug, so its stack is logged too.
 */
export function logFailure(what: string, error: unknown, log: Log): void {
  const stack = error instanceof Error && !(error instanceof FlatnetError) ? error.stack : undefined;
  log.warn({ what, error: messageOf(error), ...(stack !== undefined && { stack }) }, `${what} failed`);
}
