export type BackoffOptions = {
  /** Milliseconds of the first wait. Default 100. */
  readonly first?: number;
  /** Milliseconds of the longest wait. Default 5000. */
  readonly longest?: number;
  /** The random share of a wait, 0 to 1. Default 0.5. */
  readonly jitter?: number;
  /** 0 to 1, as `Math.random`. */
  readonly random?: () => number;
};

/**
 * Waits between attempts: doubling, with jitter even at the longest, so that a cluster's nodes spread out.
 */
export class Backoff {
  readonly #first: number;
  readonly #longest: number;
  readonly #jitter: number;
  readonly #random: () => number;
  #next: number;
  #startedOver = false;

  constructor({ first = 100, longest = 5000, jitter = 0.5, random = Math.random }: BackoffOptions = {}) {
    this.#first = first;
    this.#longest = longest;
    this.#jitter = jitter;
    this.#random = random;
    this.#next = first;
  }

  /** Milliseconds to wait this time; the next wait is twice as long. */
  next(): number {
    const wait = this.#next;
    this.#next = Math.min(2 * wait, this.#longest);
    return wait * (1 - this.#jitter * this.#random());
  }

  /** Starts over with the first wait. */
  reset(): void {
    this.#next = this.#first;
    this.#startedOver = false;
  }

  /**
   * Starts over because the attempt now fails in another way: a server that refuses is back, and may soon
   * consent. Only once until `reset`, so that a server that alternates is not asked without a pause.
   */
  startOver(): void {
    if (this.#startedOver) return;
    this.#next = this.#first;
    this.#startedOver = true;
  }
}
