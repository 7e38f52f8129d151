import { messageOf } from '../error.ts';
import type { Log } from '../log.ts';
import { Backoff } from './backoff.ts';
import { pause } from './pause.ts';

export type KeepUp = {
  readonly signal: AbortSignal;
  readonly log: Log;
  /** Called with the reason each time the work ends, before the pause. */
  readonly ended?: (reason: string) => void;
  /** Default: 100 ms doubling to 5 s, with jitter; started over by work that lasted 5 s. */
  readonly backoff?: Backoff;
};

/**
 * Keeps up work that should never end, such as listening: however it ends, it starts again after a pause.
 * Logs each new reason once. Resolves when the signal aborts; never rejects.
 */
export async function keepUp(what: string, work: () => Promise<void>, options: KeepUp): Promise<void> {
  const { signal, log, ended, backoff = new Backoff() } = options;
  let last = '';
  while (!signal.aborted) {
    const begin = performance.now();
    const reason = await work().then(() => 'it ended', messageOf);
    if (signal.aborted) return;
    if (performance.now() - begin > LASTING) {
      backoff.reset();
      last = '';
    }
    if (reason !== last) log.warn({ what, reason }, 'will start again');
    last = reason;
    ended?.(reason);
    await pause(backoff.next(), signal);
  }
}

/** Milliseconds after which work counts as having succeeded for a while. */
const LASTING = 5000;
