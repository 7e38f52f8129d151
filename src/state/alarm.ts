/** A timer shared by several callers: the earliest deadline wins. */
export class Alarm {
  readonly #ring: () => void;
  #timer: NodeJS.Timeout | undefined;
  #immediate: NodeJS.Immediate | undefined;
  /** By `performance.now`. */
  #due = Number.POSITIVE_INFINITY;

  /** `ring` is called once what had arrived by the deadline has been handled: timers come before input. */
  constructor(ring: () => void) {
    this.#ring = ring;
  }

  /** `delay` in milliseconds. */
  set(delay: number): void {
    const due = performance.now() + delay;
    if (due >= this.#due) return;
    this.#clear();
    this.#due = due;
    this.#timer = setTimeout(() => {
      this.#immediate = setImmediate(() => {
        this.#due = Number.POSITIVE_INFINITY;
        this.#ring();
      });
    }, delay);
  }

  stop(): void {
    this.#clear();
    this.#due = Number.NEGATIVE_INFINITY;
  }

  #clear(): void {
    clearTimeout(this.#timer);
    clearImmediate(this.#immediate);
  }
}
