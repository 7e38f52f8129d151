import { setTimeout as sleep } from 'node:timers/promises';
import { FlatnetError } from '../../error.ts';

/** What an attempt returns when somebody else changed a key between its reading and its writing. */
export const CONFLICT = Symbol('conflict');

const TRIES = 100;
/** Milliseconds. */
const LONGEST_WAIT = 200;

/**
 * Repeats the attempt until it meets no conflict, after waits that grow and are cut short at random so that
 * rivals part. Throws STORE_CONFLICT after a hundred tries, and what the attempt throws; rejects when
 * `signal` aborts.
 */
export async function retrying<T>(
  operation: string,
  random: () => number,
  attempt: () => Promise<T | typeof CONFLICT>,
  signal?: AbortSignal,
): Promise<T> {
  for (let tries = 1; tries <= TRIES; tries++) {
    signal?.throwIfAborted();
    const result = await attempt();
    if (result !== CONFLICT) return result;
    const longest = Math.min(2 ** tries, LONGEST_WAIT);
    await sleep(random() * longest, undefined, { ...(signal && { signal }) });
  }
  throw new FlatnetError(`lost ${TRIES} races against other nodes`, {
    code: 'STORE_CONFLICT',
    operation,
    fix: 'try again',
  });
}
