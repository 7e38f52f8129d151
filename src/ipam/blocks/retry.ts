import { Backoff } from '../../async/backoff.ts';
import { pause } from '../../async/pause.ts';
import { FlatnetError } from '../../error.ts';

/** Returned by an attempt when an object changed between being read and being written. */
export const CONFLICT = Symbol('conflict');

const TRIES = 100;

/**
 * Retries the attempt until it succeeds without a conflict, with exponential backoff up to 200 ms and full
 * jitter to spread out rivals. Throws STORE_CONFLICT after a hundred tries, and whatever the attempt throws;
 * rejects when `signal` aborts.
 */
export async function retrying<T>(
  operation: string,
  random: () => number,
  attempt: () => Promise<T | typeof CONFLICT>,
  signal?: AbortSignal,
): Promise<T> {
  const backoff = new Backoff({ first: 2, longest: 200, jitter: 1, random });
  for (let tries = 1; tries <= TRIES; tries++) {
    signal?.throwIfAborted();
    const result = await attempt();
    if (result !== CONFLICT) return result;
    await pause(backoff.next(), signal);
  }
  signal?.throwIfAborted();
  throw new FlatnetError(`lost ${TRIES} races against other nodes`, {
    code: 'STORE_CONFLICT',
    operation,
    fix: 'try again',
  });
}
