/**
 * Runs one piece of work at a time, in the order it came. A failure goes to its caller and does not hold up
 * the next.
 */
export class Queue {
  #last: Promise<void> = Promise.resolve();
  #length = 0;

  /** How many pieces of work wait or run. */
  get length(): number {
    return this.#length;
  }

  /**
   * Resolves or rejects as `work` does. Rejects with the reason of `signal` when that aborts before the turn
   * comes, and the work is never begun; once begun, the work itself must heed the signal.
   */
  run<T>(work: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    const abort = (): void => reject(signal?.reason);
    if (signal?.aborted) {
      abort();
      return promise;
    }
    signal?.addEventListener('abort', abort, { once: true });
    this.#length++;
    this.#last = this.#last.then(async () => {
      try {
        if (signal?.aborted) return;
        signal?.removeEventListener('abort', abort);
        resolve(await work());
      } catch (error) {
        reject(error);
      } finally {
        this.#length--;
      }
    });
    return promise;
  }

  /** Resolves when nothing waits or runs. */
  async idle(): Promise<void> {
    while (this.#length > 0) await this.#last;
  }
}

/** A queue for each key; different keys do not wait for each other. */
export class KeyedQueue {
  readonly #queues = new Map<string, Queue>();

  /** As `Queue.run`, among the work of the same key. */
  async run<T>(key: string, work: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    const queue = this.#queues.get(key) ?? new Queue();
    this.#queues.set(key, queue);
    try {
      return await queue.run(work, signal);
    } finally {
      // An aborted one leaves while others still run.
      if (queue.length === 0) this.#queues.delete(key);
    }
  }

  /** Whether work of this key waits or runs. */
  isBusy(key: string): boolean {
    return (this.#queues.get(key)?.length ?? 0) > 0;
  }
}
