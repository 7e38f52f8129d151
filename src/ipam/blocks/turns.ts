/** Lets one piece of work run at a time, in the order they came. */
export class Turns {
  #last: Promise<unknown> = Promise.resolve();

  /**
   * Rejects with the signal's reason when it aborts before the turn comes; afterwards the work itself minds
   * it.
   */
  take<T>(work: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    if (signal?.aborted) return Promise.reject(signal.reason);
    const { promise: turn, resolve, reject } = Promise.withResolvers<void>();
    const abort = (): void => reject(signal?.reason);
    signal?.addEventListener('abort', abort, { once: true });
    const before = this.#last;
    void before.then(() => resolve());
    const result = turn.finally(() => signal?.removeEventListener('abort', abort)).then(work);
    this.#last = Promise.allSettled([before, result]);
    return result;
  }
}
