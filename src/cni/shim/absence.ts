import { statSync, utimesSync, writeFileSync } from 'node:fs';
import { codeOf } from '../../error.ts';

/**
 * How long an agent may be away, in milliseconds. A STATUS that fails makes a kubelet call its whole node not
 * ready, which takes the node's running pods out of their Services; an agent that is upgraded is no reason.
 */
const GRACE = 120_000;
/** Milliseconds between two STATUS calls that find no agent, beyond which it has been there in between. */
const GAP = 60_000;

/**
 * Notes that the agent at `socket` does not answer, and returns whether that may still be because it is
 * upgraded or restarted. Not where it has not run since the machine started, as its folder in /run is
 * missing. The note, next to the socket, was last changed when this absence began, and last read when it was
 * last noticed: an agent that restarts again and again is not away briefly.
 */
export function isAwayBriefly(socket: string, now = Date.now()): boolean {
  const note = `${socket}.away`;
  try {
    const known = statSync(note, { throwIfNoEntry: false });
    const isSame = known !== undefined && Math.abs(now - known.atimeMs) < GAP;
    const begin = isSame ? known.mtimeMs : now;
    if (!known) writeFileSync(note, '', { mode: 0o600 });
    utimesSync(note, now / 1000, begin / 1000);
    return Math.abs(now - begin) < GRACE;
  } catch (error) {
    if (codeOf(error) === undefined) throw error;
    return false;
  }
}
