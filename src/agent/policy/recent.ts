import type { LoggedFlow } from '../../policy/observe/logged.ts';

/** How many flows are remembered. */
const KEPT = 1000;

/** A flow, with when it was reported. */
export type RecentFlow = LoggedFlow & { readonly time: string };

export type RecentFlows = {
  /** In order. */
  readonly flows: readonly RecentFlow[];
  /** How many have come since the asker's last, and are not remembered any more. */
  readonly missed: number;
  /** The number of the last: what to ask for next. */
  readonly last: number;
};

/** The last flows, numbered from 1 as they come. */
export class Recent {
  #flows: RecentFlow[] = [];
  #last = 0;

  add(flow: LoggedFlow): void {
    this.#last++;
    this.#flows.push({ time: new Date().toISOString(), ...flow });
    if (this.#flows.length >= 2 * KEPT) this.#flows = this.#flows.slice(-KEPT);
  }

  /** Those after a number; of an agent that has been started anew, all. */
  after(number: number): RecentFlows {
    const since = number > this.#last ? 0 : Math.max(0, number);
    const wanted = this.#last - since;
    const flows = wanted === 0 ? [] : this.#flows.slice(-Math.min(wanted, KEPT));
    return { flows, missed: wanted - flows.length, last: this.#last };
  }
}
