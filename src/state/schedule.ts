import { Backoff } from '../async/backoff.ts';
import { Alarm } from './alarm.ts';

const INTERVAL = 30_000;
const DEBOUNCE = 10;
const FIRST_RETRY = 100;

export type Pace = {
  /** Milliseconds between periodic runs, and the longest delay between retries. Default 30 000. */
  readonly interval?: number;
  /** Milliseconds during which causes of a run are batched. Default 10. */
  readonly debounce?: number;
};

/** When the next run is due, from when it is started: the earliest of all causes decides. */
export class Schedule {
  readonly #alarm: Alarm;
  readonly #backoff: Backoff;
  readonly #interval: number;
  readonly #debounce: number;
  #regular: NodeJS.Timeout | undefined;
  #isStarted = false;

  constructor(run: () => void, { interval = INTERVAL, debounce = DEBOUNCE }: Pace) {
    this.#alarm = new Alarm(run);
    this.#backoff = new Backoff({ first: FIRST_RETRY, longest: interval, jitter: 0 });
    this.#interval = interval;
    this.#debounce = debounce;
  }

  /** A run is due at once. `tick` is called at every interval from now on. */
  start(tick: () => void): void {
    this.#isStarted = true;
    this.#regular = setInterval(tick, this.#interval);
    this.now();
  }

  stop(): void {
    clearInterval(this.#regular);
    this.#alarm.stop();
  }

  /** For causes that the caller has batched. */
  now(): void {
    this.#set(0);
  }

  /** For causes that come in bursts; in no less than `wait` milliseconds. */
  soon(wait = 0): void {
    this.#set(Math.max(this.#debounce, wait));
  }

  /** A run failed: after each, the next one waits longer, until one succeeds. */
  retry(): void {
    this.#set(this.#backoff.next());
  }

  succeeded(): void {
    this.#backoff.reset();
  }

  #set(delay: number): void {
    if (this.#isStarted) this.#alarm.set(delay);
  }
}
