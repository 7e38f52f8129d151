import { FlatnetError, messageOf } from '../error.ts';
import type { Log } from '../log.ts';

/**
 * Lets go of a promise: nobody waits for it, and a rejection is logged with what it was. This is the only way
 * to detach one. Once `signal` has aborted, a rejection is how the work ends, and is not logged.
 */
export function background(what: string, promise: Promise<unknown>, log: Log, signal?: AbortSignal): void {
  promise.catch((error: unknown) => {
    if (!signal?.aborted) logFailure(what, error, log);
  });
}

/** One warning per failure, in one form. An error that is not ours is a bug and brings its stack. */
export function logFailure(what: string, error: unknown, log: Log): void {
  const stack = error instanceof Error && !(error instanceof FlatnetError) ? error.stack : undefined;
  log.warn({ what, error: messageOf(error), ...(stack !== undefined && { stack }) }, `${what} failed`);
}
