import { setTimeout as sleep } from 'node:timers/promises';

const LONGEST = 5_000;

/** Waits between tries: 100 ms doubling to 5 s, each shortened at random by up to half so that clients spread out. */
export class Backoff {
  readonly #first: number;
  #next: number;

  constructor(first = 100) {
    this.#first = first;
    this.#next = first;
  }

  /** Rejects when `signal` aborts. */
  async wait(signal: AbortSignal): Promise<void> {
    const delay = this.#next * (0.5 + Math.random() / 2);
    this.#next = Math.min(2 * this.#next, LONGEST);
    await sleep(delay, undefined, { signal });
  }

  /** All is well again. */
  reset(): void {
    this.#next = this.#first;
  }
}
