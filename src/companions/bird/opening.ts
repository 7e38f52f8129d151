import { sessionsIn } from './status/sessions.ts';
import { type Bgp, type BgpStatus, bgpStatus } from './status/status.ts';

/**
 * Seconds that BIRD has for its sessions. After a failure it waits for up to 10 s before it tries again
 * (`error wait time` in `configuration/render.ts`); a peer that is not there by then may be gone for good.
 */
const PATIENCE = 15;

/**
 * Which sessions a BIRD still deserves time for; undefined once all are established, or it has run for long
 * enough.
 *
 * @param age seconds that BIRD has run
 */
export function stillOpening(status: Pick<BgpStatus, 'sessions'>, age: number): string | undefined {
  if (age >= PATIENCE) return undefined;
  const { missing } = sessionsIn(status);
  return missing.length === 0 ? undefined : `no BGP session yet with ${missing.join(', ')}`;
}

/**
 * What keeps a node from being called ready when its BIRD has just started: without sessions its pods reach
 * nobody. Once it is over, later outages are none of its business: the kernel's routes outlive them.
 */
export class Opening {
  #begin: number | undefined;
  #over = false;
  #waitsFor: string | undefined;

  get isOver(): boolean {
    return this.#over;
  }

  get waitsFor(): string | undefined {
    return this.#waitsFor;
  }

  /** Looks how far BIRD is. Throws BIRD if it does not answer. */
  async look(bgp: Bgp): Promise<void> {
    if (this.#over) return;
    this.#begin ??= performance.now();
    const status = await bgpStatus(bgp);
    // A BIRD that keeps dying is never old.
    const watched = (performance.now() - this.#begin) / 1000;
    this.#waitsFor = stillOpening(status, Math.max(status.daemon.uptime, watched));
    this.#over = this.#waitsFor === undefined;
  }
}
