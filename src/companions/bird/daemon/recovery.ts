import { pause } from '../../../async/pause.ts';
import { readDaemon, readProtocols } from '../status/protocols.ts';
import { readRoutes } from '../status/routes.ts';
import type { BirdControl } from './control.ts';

const LATCH = 'Recovery';
const LOOK = 50;
/** How long what the kernel has and nobody tells of keeps BIRD from its work. */
const MISSED = 10_000;

/** Longer than `graceful restart wait`. */
const OWN_RECOVERY = 30_000;
/**
 * Shorter than `graceful restart wait`: of a change that only both ends together can speak by again, a
 * password, the first one waits for the second one no longer than that.
 */
const COURTESY = 8000;
/** What BIRD says when its recovery ends is out by then. */
const SAID = 300;
/** In which nodes that want the same at the same time find out who is first. */
const JITTER = 700;

/**
 * The configuration of a BIRD that restarts: a restarted BIRD leaves the kernel alone until every peer has
 * told it all (RFC 4724 section 4.1), but waits for no peer that restarts too, and would delete that one's
 * routes. OSPF without an interface takes part in the restart, never gets anywhere, and so keeps BIRD from
 * ending it until `endRecovery` takes it away.
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
 * Lets a BIRD of a `latched` configuration end its recovery as soon as it knows all that it can: every peer
 * is heard and none of them restarts itself, or everything is known again that an earlier BIRD left in the
 * kernel. `kernelRoutes` are the destinations of that. Returns whether there was a recovery to end.
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
 * Returns when BIRD may be restarted. Not while it is still coming back from a restart: peers forgive one at
 * a time, and drop what they keep for us at a second one (RFC 4724 section 4.2). And one node after another,
 * as far as that does not take long.
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
