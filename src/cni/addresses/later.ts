/** Milliseconds until the store is asked again. */
const WAIT = 5_000;

/** Work that could not be done, tried again after a while. */
export class Later {
  readonly #work: () => Promise<void>;
  #timer: NodeJS.Timeout | undefined;

  /** `work` never rejects. */
  constructor(work: () => Promise<void>) {
    this.#work = work;
  }

  /**
   * Whether there is something to do that was tried a moment ago, so that trying now would only hold others
   * up.
   */
  get pending(): boolean {
    return this.#timer !== undefined;
  }

  schedule(): void {
    this.#timer ??= setTimeout(() => {
      this.cancel();
      void this.#work();
    }, WAIT).unref();
  }

  /** Nothing is due any more, or it is about to be done. */
  cancel(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }
}
