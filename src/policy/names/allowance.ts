/** What may be learned at once, and then each second. */
const MOST = 200;
const PER_SECOND = 20;

/** How much of something is let through: bursts, and less on average. */
export class Allowance {
  #left = MOST;
  #at: number;

  /** `now`: milliseconds. */
  constructor(now: number) {
    this.#at = now;
  }

  /** Whether one more may pass. */
  take(now: number): boolean {
    this.#left = Math.min(MOST, this.#left + (Math.max(0, now - this.#at) / 1000) * PER_SECOND);
    this.#at = now;
    if (this.#left < 1) return false;
    this.#left--;
    return true;
  }
}
