/**
 * After a full read, contradictions wait for this many times the read's duration: others may keep
 * contradicting forever.
 */
const PAUSE_FACTOR = 3;
/** Milliseconds. */
const MAX_PAUSE = 500;
const MAX_CHECKS = 100;

/** Reported contradictions: whether each is real is checked when its turn comes. */
export class Suspicions {
  #checks: (() => boolean)[] = [];
  /** Earliest time of the next full read, by `performance.now`. */
  #pausedUntil = 0;

  /** Returns false if there are so many that some are surely real. */
  add(persists: () => boolean): boolean {
    if (this.#checks.length >= MAX_CHECKS) return false;
    this.#checks.push(persists);
    return true;
  }

  /** Returns the checks still to be made, and forgets them. */
  take(): readonly (() => boolean)[] {
    const checks = this.#checks;
    this.#checks = [];
    return checks;
  }

  /** The kernel was read as a whole, in so many milliseconds. */
  rest(duration: number): void {
    this.#pausedUntil = performance.now() + Math.min(PAUSE_FACTOR * duration, MAX_PAUSE);
  }

  /** Milliseconds until the kernel may be read again; negative once it may. */
  get wait(): number {
    return this.#pausedUntil - performance.now();
  }
}
