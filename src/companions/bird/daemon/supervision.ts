import { background } from '../../../async/background.ts';
import { Backoff } from '../../../async/backoff.ts';
import { aborted, pause } from '../../../async/pause.ts';
import type { Log } from '../../../log.ts';
import { readProtocols } from '../status/protocols.ts';
import type { BirdControl } from './control.ts';
import type { Connected } from './process.ts';

/** Uptime in milliseconds after which a crash counts as unrelated to the previous one. */
const STEADY = 10_000;
/** Interval between checks that BIRD still answers, in milliseconds. */
const PULSE = 5000;
/** The reason BIRD gives when it disables a protocol permanently because another program had its port. */
const PORT_TAKEN = /No listening socket/;

export type Supervision = {
  /** Restarts BIRD, or adopts one started meanwhile; undefined on failure. */
  readonly revive: () => Promise<Connected | undefined>;
  readonly log: Log;
  readonly signal: AbortSignal;
};

/**
 * Keeps BIRD running until the signal aborts. A BIRD that died, or stopped answering and was disconnected, is
 * restarted at once, with a growing delay if it keeps dying. `first`: the BIRD running now.
 */
export async function supervise(
  first: Connected | undefined,
  { revive, log, signal }: Supervision,
): Promise<void> {
  const backoff = new Backoff();
  const stopped = aborted(signal);
  let restarts = 0;
  for (let connected = first; ; connected = await revive()) {
    const since = performance.now();
    if (connected) {
      const pulse = setInterval(() => {
        // If BIRD does not answer, the connection times out and closes.
        background('re-enable BIRD’s sessions', reenable(connected.control), log, signal);
      }, PULSE).unref();
      await Promise.race([connected.control.closed, stopped]);
      clearInterval(pulse);
      if (signal.aborted) return;
      log.warn({ restarts }, 'BIRD has died; restarting it');
    }
    if (performance.now() - since > STEADY) {
      backoff.reset();
      restarts = 0;
    }
    if (restarts++ > 0 && !(await pause(backoff.next(), signal))) return;
  }
}

/** Re-enables sessions whose port was taken when they started: it may be free by now. */
async function reenable(control: BirdControl): Promise<void> {
  for (const { name, info } of readProtocols(await control.request('show protocols'))) {
    if (PORT_TAKEN.test(info)) await control.request(`enable ${name}`);
  }
}
