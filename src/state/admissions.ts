import { nextTurn } from '../async/pause.ts';
import type { Queue } from '../async/queue.ts';
import type { Contribution } from './contributions.ts';
import type { Item } from './item.ts';

/** A contribution to add ahead of all other changes; only its `urgent` items are applied at once. */
export type Admission = {
  readonly contribution: Contribution;
  readonly urgent: readonly Item[];
};

/** Admissions that wait for their turn. Those that arrive before it are made together. */
export class Admissions<R> {
  readonly #queue: Queue;
  readonly #admit: (admissions: readonly Admission[]) => Promise<R>;
  readonly #waiting = new Set<Admission>();
  #turn: Promise<R> | undefined;

  constructor(queue: Queue, admit: (admissions: readonly Admission[]) => Promise<R>) {
    this.#queue = queue;
    this.#admit = admit;
  }

  /**
   * Settles as the turn does that makes this admission. Rejects with the signal's reason if that aborts
   * earlier: then it is never made.
   */
  async run(admission: Admission, signal?: AbortSignal): Promise<R> {
    signal?.throwIfAborted();
    let isWithdrawn = false;
    const withdraw = (): void => {
      isWithdrawn = this.#waiting.delete(admission);
    };
    this.#waiting.add(admission);
    signal?.addEventListener('abort', withdraw, { once: true });
    try {
      this.#turn ??= this.#queue.run(() => this.#begin());
      const result = await this.#turn;
      if (isWithdrawn) signal?.throwIfAborted();
      return result;
    } finally {
      signal?.removeEventListener('abort', withdraw);
    }
  }

  async #begin(): Promise<R> {
    // Other calls that the event loop has seen arrive come as far as this.
    await nextTurn();
    const admissions = [...this.#waiting];
    this.#waiting.clear();
    this.#turn = undefined;
    return this.#admit(admissions);
  }
}
