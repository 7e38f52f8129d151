import { pause } from './pause.ts';

export type PollOptions = {
  /** Milliseconds between questions. */
  readonly every: number;
  /** Milliseconds until it gives up. */
  readonly patience: number;
  readonly signal?: AbortSignal | undefined;
};

/**
 * Asks until there is an answer, or returns undefined if there is none in time. Rejects with what `ask`
 * throws, and with the signal's reason if it aborts.
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
