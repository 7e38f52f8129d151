/** How much may be done: a burst at once, then one every so often (a token bucket). */
export class Allowance {
  readonly #burst: number;
  readonly #interval: number;
  readonly #now: () => number;
  #left: number;
  #at: number;

  /**
   * @param interval milliseconds in which one more becomes available
   * @param now milliseconds of a clock that never goes back
   */
  constructor(burst: number, interval: number, now: () => number = () => performance.now()) {
    this.#burst = burst;
    this.#interval = interval;
    this.#now = now;
    this.#left = burst;
    this.#at = now();
  }

  /** Takes one, if one is left. */
  take(): boolean {
    const now = this.#now();
    this.#left = Math.min(this.#burst, this.#left + (now - this.#at) / this.#interval);
    this.#at = now;
    if (this.#left < 1) return false;
    this.#left--;
    return true;
  }
}
