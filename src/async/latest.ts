import { messageOf } from '../error.ts';
import type { Log } from '../log.ts';
import { logFailure } from './background.ts';
import { pause } from './pause.ts';

export type LatestOptions = {
  readonly log: Log;
  /** Ends all: what runs is told, what waits is dropped. */
  readonly signal?: AbortSignal;
  /** Milliseconds that a value waits for newer ones before the work begins. Default 0. */
  readonly gather?: number | (() => number);
  /** Milliseconds between the end of one run and the begin of the next at least. Default 0. */
  readonly rest?: number;
};

/**
 * Work that only matters for the newest value: one run at a time, and a newer value replaces the one that
 * waits. A run that fails is logged with what it was, each new reason once; use `untilDone` inside for work
 * that must succeed. `work` gets a signal that aborts when a newer value waits or all ends, for the pauses
 * within it: to reject with it is no failure.
 */
export class Latest<T = void> implements AsyncDisposable {
  readonly #what: string;
  readonly #work: (value: T, superseded: AbortSignal) => Promise<unknown>;
  readonly #options: LatestOptions;
  /** Aborts when delays no longer count: flushing, or the end. */
  readonly #hurry = new AbortController();
  #waiting: { readonly value: T } | undefined;
  #running: AbortController | undefined;
  #loop: Promise<void> | undefined;
  /** Why the last run failed. */
  #reason = '';

  constructor(
    what: string,
    work: (value: T, superseded: AbortSignal) => Promise<unknown>,
    options: LatestOptions,
  ) {
    this.#what = what;
    this.#work = work;
    this.#options = options;
    options.signal?.addEventListener('abort', () => this.#end(), { once: true });
  }

  /** Whether something waits or runs. */
  get busy(): boolean {
    return this.#waiting !== undefined || this.#running !== undefined;
  }

  push(value: T): void {
    if (this.#options.signal?.aborted) return;
    this.#waiting = { value };
    this.#running?.abort(new DOMException(`a newer one waits: ${this.#what}`, 'AbortError'));
    this.#loop ??= this.#workOff();
  }

  /** Resolves when nothing waits, runs or rests. Never rejects. */
  async idle(): Promise<void> {
    while (this.#loop) await this.#loop;
  }

  /** Does what waits without further delay. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#hurry.abort();
    await this.idle();
  }

  async #workOff(): Promise<void> {
    const { gather = 0, rest = 0 } = this.#options;
    while (this.#waiting) {
      const delay = typeof gather === 'number' ? gather : gather();
      if (delay > 0) await pause(delay, this.#hurry.signal);
      const next = this.#waiting;
      this.#waiting = undefined;
      if (!next) break;
      await this.#run(next.value);
      if (rest > 0) await pause(rest, this.#hurry.signal);
    }
    this.#loop = undefined;
  }

  async #run(value: T): Promise<void> {
    const running = new AbortController();
    this.#running = running;
    try {
      await this.#work(value, running.signal);
      this.#reason = '';
    } catch (error) {
      if (!this.#options.signal?.aborted && error !== running.signal.reason) this.#failed(error);
    } finally {
      this.#running = undefined;
    }
  }

  #failed(error: unknown): void {
    const reason = messageOf(error);
    if (reason !== this.#reason) logFailure(this.#what, error, this.#options.log);
    this.#reason = reason;
  }

  #end(): void {
    this.#waiting = undefined;
    this.#hurry.abort();
    this.#running?.abort(this.#options.signal?.reason);
  }
}
