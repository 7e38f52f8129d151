import { messageOf } from '../error.ts';
import type { Log } from '../log.ts';
import { logFailure } from './background.ts';
import { pause } from './pause.ts';

export type LatestOptions = {
  readonly log: Log;
  /** Stops everything: a waiting value is dropped, and the running job's signal aborts. */
  readonly signal?: AbortSignal;
  /** Milliseconds to wait for newer values before starting. Default 0. */
  readonly gather?: number | (() => number);
  /** Minimum milliseconds between the end of one run and the start of the next. Default 0. */
  readonly rest?: number;
};

/**
 * A job that matters only for the newest value: one run at a time, and a newer value replaces the pending
 * one. Failures are logged, each new reason once; for work that must succeed, use `untilDone` inside. `work`
 * gets a signal that aborts when a newer value arrives or everything stops; rejecting with its reason is not
 * a failure.
 */
export class Latest<T = void> implements AsyncDisposable {
  readonly #what: string;
  readonly #work: (value: T, superseded: AbortSignal) => Promise<unknown>;
  readonly #options: LatestOptions;
  /** Aborts when delays no longer matter: on flushing or stopping. */
  readonly #hurry = new AbortController();
  #waiting: { readonly value: T } | undefined;
  #running: AbortController | undefined;
  #loop: Promise<void> | undefined;
  /** Why the last run failed; empty if it did not. */
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

  /** Whether a value is waiting or a run is under way. */
  get busy(): boolean {
    return this.#waiting !== undefined || this.#running !== undefined;
  }

  push(value: T): void {
    if (this.#options.signal?.aborted) return;
    this.#waiting = { value };
    this.#running?.abort(new DOMException(`superseded: ${this.#what}`, 'AbortError'));
    this.#loop ??= this.#workOff();
  }

  /** Resolves when nothing is waiting, running or resting. Never rejects. */
  async idle(): Promise<void> {
    while (this.#loop) await this.#loop;
  }

  /** Processes a waiting value without further delay. */
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
