import { background } from '../../../async/background.ts';
import { Backoff } from '../../../async/backoff.ts';
import { aborted, pause } from '../../../async/pause.ts';
import type { Log } from '../../../log.ts';
import { readProtocols } from '../status/protocols.ts';
import type { BirdControl } from './control.ts';
import type { Connected } from './process.ts';

/** Milliseconds. A BIRD that lived that long died of something new. */
const STEADY = 10_000;
/** Milliseconds between looks whether BIRD still answers. */
const PULSE = 5000;
/** Why BIRD disables a protocol for good: another program had its port. */
const PORT_TAKEN = /No listening socket/;

export type Supervision = {
  /** Starts BIRD again, or finds the one that was started meanwhile; undefined when that failed. */
  readonly revive: () => Promise<Connected | undefined>;
  readonly log: Log;
  readonly signal: AbortSignal;
};

/**
 * Keeps BIRD running until the signal aborts: one that has died, or was cut off because it stopped answering,
 * is started again at once, and with a growing pause if it keeps dying. `first`: the BIRD that runs now.
 */
export async function supervise(
  first: Connected | undefined,
  { revive, log, signal }: Supervision,
): Promise<void> {
  const backoff = new Backoff();
  const stopped = aborted(signal);
  let died = 0;
  for (let connected = first; ; connected = await revive()) {
    const since = performance.now();
    if (connected) {
      const pulse = setInterval(() => {
        // A BIRD that does not answer is found out by the connection, which closes.
        background('enable sessions of BIRD again', enableAgain(connected.control), log, signal);
      }, PULSE).unref();
      await Promise.race([connected.control.closed, stopped]);
      clearInterval(pulse);
      if (signal.aborted) return;
      log.warn({ died }, 'BIRD is gone; it is started again');
    }
    if (performance.now() - since > STEADY) {
      backoff.reset();
      died = 0;
    }
    if (died++ > 0 && !(await pause(backoff.next(), signal))) return;
  }
}

/** Sessions for which there was no port when they began: it may be free by now. */
async function enableAgain(control: BirdControl): Promise<void> {
  for (const { name, info } of readProtocols(await control.request('show protocols'))) {
    if (PORT_TAKEN.test(info)) await control.request(`enable ${name}`);
  }
}
