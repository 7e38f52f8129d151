/** Milliseconds before the store is asked again. */
const WAIT = 5_000;

/** Retries failed work after a while. */
export class Later {
  readonly #work: () => Promise<void>;
  #timer: NodeJS.Timeout | undefined;

  /** `work` never rejects. */
  constructor(work: () => Promise<void>) {
    this.#work = work;
  }

  /** Whether the work failed a moment ago: trying now would only hold others up. */
  get pending(): boolean {
    return this.#timer !== undefined;
  }

  schedule(): void {
    this.#timer ??= setTimeout(() => {
      this.cancel();
      void this.#work();
    }, WAIT).unref();
  }

  /** For when nothing is due any more, or is being done right now. */
  cancel(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }
}
