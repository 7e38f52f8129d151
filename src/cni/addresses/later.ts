/** Milliseconds before the store is tried again. */
const WAIT = 5_000;

/** Retries failed work after a while. */
export class Later {
  readonly #work: () => Promise<void>;
  #timer: NodeJS.Timeout | undefined;

  /** `work` never rejects. */
  constructor(work: () => Promise<void>) {
    this.#work = work;
  }

  /** Whether the work failed recently: trying now would only delay others. */
  get pending(): boolean {
    return this.#timer !== undefined;
  }

  schedule(): void {
    this.#timer ??= setTimeout(() => {
      this.cancel();
      void this.#work();
    }, WAIT).unref();
  }

  /** Cancels the retry, when nothing is pending any more or the work is about to run. */
  cancel(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }
}
