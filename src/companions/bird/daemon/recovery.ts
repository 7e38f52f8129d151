import { pause } from '../../../async/pause.ts';
import { readDaemon, readProtocols } from '../status/protocols.ts';
import { readRoutes } from '../status/routes.ts';
import type { BirdControl } from './control.ts';

const LATCH = 'Recovery';
const LOOK = 50;
/** Milliseconds for which routes in the kernel that nobody announces keep BIRD from its work. */
const MISSED = 10_000;

/** Milliseconds. Longer than `graceful restart wait`. */
const OWN_RECOVERY = 30_000;
/**
 * Milliseconds. Shorter than `graceful restart wait`: when a change works only once both ends have made
 * it, as with a password, the first end does not wait longer for the second.
 */
const COURTESY = 8000;
/** Milliseconds after which BIRD has announced all that it announces at the end of its recovery. */
const SAID = 300;
/** Milliseconds within which nodes that want to restart at the same time find out who goes first. */
const JITTER = 700;

/**
 * The configuration of a BIRD that restarts. It leaves the kernel alone until every peer has announced
 * everything (RFC 4724 section 4.1), but does not wait for a peer that is restarting too, and would
 * delete that peer's routes. OSPF without an interface takes part in the restart, never finishes, and so
 * keeps BIRD from ending it until `endRecovery` takes it away.
 */
export function latched(config: string): string {
  return `include "${config}";

protocol ospf v2 ${LATCH} {
  graceful restart on;
  ipv4 { import none; export none; };
  area 0 { };
}
`;
}

/**
 * Lets a BIRD with a `latched` configuration end its recovery as soon as it knows all it can: every peer
 * has been heard and none of them is restarting, or BIRD knows everything again that an earlier one left
 * in the kernel. `kernelRoutes`: the destinations of that. Returns whether there was a recovery to end.
 */
export async function endRecovery(
  control: BirdControl,
  kernelRoutes: () => Promise<readonly string[]>,
  signal: AbortSignal,
): Promise<boolean> {
  let wanted: readonly string[] | undefined;
  let heard: number | undefined;
  for (;;) {
    const { recovering, waitingFor } = readDaemon(await control.request('show status'));
    if (!recovering) return false;
    if (waitingFor <= 1) {
      heard ??= performance.now();
      if (performance.now() - heard > MISSED || (await peersAreDone(control))) break;
      wanted ??= await kernelRoutes();
      const known = new Set(readRoutes(await control.request('show route all')).map(({ net }) => net));
      if (wanted.every((net) => known.has(net))) break;
    }
    await pause(LOOK, signal);
    signal.throwIfAborted();
  }
  await control.request(`disable ${LATCH}`);
  return true;
}

async function peersAreDone(control: BirdControl): Promise<boolean> {
  const protocols = readProtocols(await control.request('show protocols all'));
  return protocols
    .filter(({ type }) => type === 'BGP')
    .every(({ info, peerRestarts }) => info === 'Established' && !peerRestarts);
}

/**
 * Resolves when BIRD may be restarted: not while it is still coming back from a restart, since peers
 * forgive one at a time and at a second one drop what they keep for us (RFC 4724 section 4.2). Nodes go
 * one after another, as long as that does not take too long.
 */
export async function untilCalm(control: BirdControl, signal: AbortSignal): Promise<void> {
  const begin = performance.now();
  const isBusy = async (): Promise<boolean> => {
    const { recovering } = readDaemon(await control.request('show status'));
    const passed = performance.now() - begin;
    if (recovering) return passed < OWN_RECOVERY;
    if (passed > COURTESY) return false;
    return readProtocols(await control.request('show protocols all')).some(({ keepsStale }) => keepsStale);
  };
  do {
    while (await isBusy()) {
      await pause(2 * LOOK, signal);
      signal.throwIfAborted();
    }
    await pause(SAID + Math.random() * JITTER, signal);
    signal.throwIfAborted();
  } while (await isBusy());
}
