import { LOGGED, type Logged } from '../compile/ends.ts';
import type { Heading } from './packet.ts';

/** Milliseconds between two reports on one flow. */
const INTERVAL = 30_000;
/** The most flows that are told apart at a time; those beyond are only counted. */
const MOST = 1000;

/** The packets of one flow, whatever its source's port, since the last report on it. */
export type Seen = {
  readonly what: Logged;
  readonly heading: Heading;
  /** The name or index of the device that it came by, as far as that is known. */
  readonly device?: number | undefined;
  readonly packets: number;
};

/** Whether a packet's prefix is one of ours. */
export function isLogged(prefix: string): prefix is Logged {
  return LOGGED.some((each) => each === prefix);
}

/**
 * Gathers packets into flows: one report for the first packets of each, and one an interval on those after.
 */
export class Tally {
  readonly #flows = new Map<string, { seen: Seen; told: number | undefined }>();
  #omitted = 0;

  add(what: Logged, heading: Heading, device?: number): void {
    const { source, destination, flow } = heading;
    const { protocol, port, icmp } = flow;
    const key = [what, source, destination, protocol, port, icmp?.type, icmp?.code, device].join(' ');
    const known = this.#flows.get(key);
    if (known) known.seen = { ...known.seen, packets: known.seen.packets + 1 };
    else if (this.#flows.size < MOST)
      this.#flows.set(key, { seen: { what, heading, device, packets: 1 }, told: undefined });
    else this.#omitted++;
  }

  /**
   * What is to be reported now, and how many packets were of too many flows. `now`: milliseconds of any
   * clock.
   */
  due(now: number): { readonly seen: readonly Seen[]; readonly omitted: number } {
    const seen: Seen[] = [];
    for (const [key, flow] of this.#flows) {
      if (flow.told !== undefined && now - flow.told < INTERVAL) continue;
      if (flow.seen.packets === 0) {
        this.#flows.delete(key);
        continue;
      }
      seen.push(flow.seen);
      flow.seen = { ...flow.seen, packets: 0 };
      flow.told = now;
    }
    const omitted = this.#omitted;
    this.#omitted = 0;
    return { seen, omitted };
  }

  /** Whether there is nothing to report, now or later. */
  get isEmpty(): boolean {
    return this.#flows.size === 0 && this.#omitted === 0;
  }
}
