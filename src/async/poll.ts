import { pause } from './pause.ts';

export type PollOptions = {
  /** Interval between calls, in milliseconds. */
  readonly every: number;
  /** Timeout in milliseconds. */
  readonly patience: number;
  readonly signal?: AbortSignal | undefined;
};

/**
 * Calls `ask` until it returns a value; returns undefined on timeout. Rejects with an error from `ask`, or
 * with the signal's reason if it aborts.
 */
export async function poll<T>(
  ask: () => Promise<T | undefined>,
  { every, patience, signal }: PollOptions,
): Promise<T | undefined> {
  const deadline = performance.now() + patience;
  for (;;) {
    signal?.throwIfAborted();
    const answer = await ask();
    if (answer !== undefined) return answer;
    if (performance.now() >= deadline) return undefined;
    await pause(every, signal);
  }
}
