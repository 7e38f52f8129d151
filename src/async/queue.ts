/** Runs one job at a time, in order. A failure goes to the caller and does not hold up the next job. */
export class Queue {
  #last: Promise<void> = Promise.resolve();
  #length = 0;

  /** How many jobs are waiting or running. */
  get length(): number {
    return this.#length;
  }

  /**
   * Settles as `work` does. If `signal` aborts before the job's turn, rejects with its reason and never
   * starts the job; once started, the job itself must heed the signal.
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

  /** Resolves when no job is waiting or running. */
  async idle(): Promise<void> {
    while (this.#length > 0) await this.#last;
  }
}

/** One queue per key; different keys do not wait for each other. */
export class KeyedQueue {
  readonly #queues = new Map<string, Queue>();

  /** Like `Queue.run`, among the jobs of the same key. */
  async run<T>(key: string, work: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    const queue = this.#queues.get(key) ?? new Queue();
    this.#queues.set(key, queue);
    try {
      return await queue.run(work, signal);
    } finally {
      // An aborted job leaves while others are still running.
      if (queue.length === 0) this.#queues.delete(key);
    }
  }

  /** Whether a job of this key is waiting or running. */
  isBusy(key: string): boolean {
    return (this.#queues.get(key)?.length ?? 0) > 0;
  }
}
