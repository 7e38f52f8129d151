import { pause } from '../../../async/pause.ts';
import { readDaemon, readProtocols } from '../status/protocols.ts';
import { readRoutes } from '../status/routes.ts';
import type { BirdControl } from './control.ts';

const LATCH = 'Recovery';
/** Polling interval, in milliseconds. */
const POLL_INTERVAL = 50;
/** Maximum time that kernel routes which no peer announces delay the end of the recovery, in milliseconds. */
const MAX_UNHEARD = 10_000;

/** Maximum wait for BIRD's own recovery, in milliseconds; longer than `graceful restart wait`. */
const MAX_OWN_RECOVERY = 30_000;
/**
 * Maximum wait for a restarting peer, in milliseconds. Shorter than `graceful restart wait`: a change that
 * works only once both ends have made it, such as a password, must not make the first end wait longer for the
 * second.
 */
const MAX_PEER_RECOVERY = 8000;
/** Time BIRD needs to announce its routes at the end of its recovery, in milliseconds. */
const ANNOUNCE_TIME = 300;
/** Random delay that orders nodes about to restart at the same time, in milliseconds. */
const JITTER = 700;

/**
 * Renders the configuration of a restarting BIRD. BIRD leaves the kernel alone until every peer has announced
 * everything (RFC 4724 section 4.1), but it does not wait for a peer that is restarting too, and would delete
 * that peer's routes. OSPF without an interface takes part in the restart but never finishes, which keeps
 * BIRD in recovery until `endRecovery` disables it.
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
 * Ends the recovery of a BIRD with a `latched` configuration as soon as its routes are complete: every peer
 * has been heard and none of them is restarting, or BIRD knows all routes again that an earlier one left in
 * the kernel. `kernelRoutes` returns the destinations of those. Returns whether there was a recovery to end.
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
      if (performance.now() - heard > MAX_UNHEARD || (await peersAreDone(control))) break;
      wanted ??= await kernelRoutes();
      const known = new Set<string>(
        readRoutes(await control.request('show route all')).map(({ net }) => net),
      );
      if (wanted.every((net) => known.has(net))) break;
    }
    await pause(POLL_INTERVAL, signal);
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
 * Resolves when BIRD may be restarted: not while it is still recovering from a restart, since peers tolerate
 * one restart at a time and drop our routes at a second one (RFC 4724 section 4.2). Nodes restart one after
 * another, unless that takes too long.
 */
export async function untilCalm(control: BirdControl, signal: AbortSignal): Promise<void> {
  const begin = performance.now();
  const isBusy = async (): Promise<boolean> => {
    const { recovering } = readDaemon(await control.request('show status'));
    const passed = performance.now() - begin;
    if (recovering) return passed < MAX_OWN_RECOVERY;
    if (passed > MAX_PEER_RECOVERY) return false;
    return readProtocols(await control.request('show protocols all')).some(({ keepsStale }) => keepsStale);
  };
  do {
    while (await isBusy()) {
      await pause(2 * POLL_INTERVAL, signal);
      signal.throwIfAborted();
    }
    await pause(ANNOUNCE_TIME + Math.random() * JITTER, signal);
    signal.throwIfAborted();
  } while (await isBusy());
}
