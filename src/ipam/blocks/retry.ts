import { Backoff } from '../../async/backoff.ts';
import { pause } from '../../async/pause.ts';
import { FlatnetError } from '../../error.ts';

/** What an attempt returns when somebody else changed an object between its reading and its writing. */
export const CONFLICT = Symbol('conflict');

const TRIES = 100;

/**
 * Repeats the attempt until it meets no conflict, with waits that grow up to 200 ms and are cut short at
 * random so that rivals part. Throws STORE_CONFLICT after a hundred tries, and what the attempt throws;
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
