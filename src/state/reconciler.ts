import { background } from '../async/background.ts';
import { Backoff } from '../async/backoff.ts';
import { Queue } from '../async/queue.ts';
import { messageOf } from '../error.ts';
import type { Log } from '../log.ts';
import { Alarm } from './alarm.ts';
import type { Contribution } from './contributions.ts';
import { Convergence } from './convergence.ts';
import type { Change, KernelState } from './item.ts';
import { Kernel } from './kernel.ts';
import type { Resolve } from './kinds/fdb.ts';
import { Misses } from './misses.ts';
import { changeText } from './print.ts';
import type { Undone } from './undone.ts';

const INTERVAL = 30_000;
const DEBOUNCE = 10;
const FIRST_RETRY = 100;
/**
 * After reading the whole kernel, contradictions wait this many times as long as the reading took: others may
 * keep contradicting forever.
 */
const REST = 3;
const MAX_REST = 500;
const MAX_LOGGED = 20;
const MAX_SUSPICIONS = 100;

export type ReconcilerOptions = {
  /** Path or descriptor of the namespace to keep right; by default the process's own. */
  readonly netns?: string | number | undefined;
  readonly log: Log;
  /** Milliseconds between full checks when nothing happens, and between retries at most. Default 30 000. */
  readonly interval?: number;
  /** Milliseconds in which the kernel's notifications are gathered into one run. Default 10. */
  readonly debounce?: number;
  /** After each run that changed something, or left something undone, or was the first to leave nothing. */
  readonly onReport?: (report: Report) => void;
  /** After each run that could not even read the kernel. */
  readonly onFailure?: (error: unknown) => void;
  /** Somebody changed a table of nftables that is not ours, or may have. */
  readonly onForeignTable?: () => void;
  /** Answers what the kernel asks on devices with `onDemand`. */
  readonly resolve?: Resolve;
};

export type Report = {
  /** What this run did. */
  readonly done: readonly Change[];
  /** All that is undone, whichever run found it so. */
  readonly undone: readonly Undone[];
  /** Whether the kernel was read as a whole; else only known changes were made. */
  readonly full: boolean;
  /** Milliseconds. */
  readonly duration: number;
};

/**
 * The only code that changes the kernel: holds it to the desired state. Runs when the desired state changes,
 * when the kernel reports something that contradicts it, and on a timer; never two runs at once. When only
 * the desired state changed, the change is made without reading the kernel: one peer costs a few requests
 * however large the cluster.
 */
export class Reconciler implements Disposable {
  readonly #options: ReconcilerOptions;
  readonly #kernel: Kernel;
  readonly #misses: Misses | undefined;
  readonly #convergence: Convergence;
  readonly #queue = new Queue();
  readonly #alarm = new Alarm(() => void this.#runByItself());
  readonly #backoff: Backoff;
  /** Contributions that came during a run. */
  #next: readonly Contribution[] | undefined;
  /** The answers in the kernel have to be compared with what `resolve` says now. */
  #answersDue = false;
  #isStarted = false;
  #isClosed = false;
  /** Whether the last run left something undone. */
  #troubled = false;
  #warnings: readonly string[] = [];
  /** What others did, to be checked: whether it contradicts the desired state. */
  #suspicions: (() => boolean)[] = [];
  /** When the kernel may be read as a whole again, by `performance.now`. */
  #rested = 0;

  /** Throws SYSCALL, and NOT_FOUND when there is no such namespace. */
  constructor(options: ReconcilerOptions) {
    const { netns, log, resolve, onForeignTable, interval = INTERVAL } = options;
    this.#options = options;
    this.#backoff = new Backoff({ first: FIRST_RETRY, longest: interval, jitter: 0 });
    const onMiss: Misses['answer'] = (miss) => this.#misses?.answer(miss);
    this.#kernel = new Kernel({ netns, onMiss, ...(onForeignTable && { onForeignTable }) });
    this.#convergence = new Convergence(this.#kernel);
    if (resolve) this.#misses = new Misses(netns, this.#kernel.devices, resolve, log);
  }

  /**
   * Replaces what is desired; once started, the kernel follows. Contributions that are the same objects as
   * before cost nothing. During a run they wait for its end.
   */
  setDesired(contributions: readonly Contribution[]): void {
    this.#next = contributions;
    if (this.#queue.length === 0) this.#adopt();
  }

  /**
   * `resolve` may now answer differently: nobody should be looked for in an old place until entries age out.
   */
  answersChanged(): void {
    this.#answersDue = true;
    this.#schedule(this.#debounce);
  }

  /**
   * The desired state now covers the whole cluster: from now on, what is ours and unwanted is removed.
   */
  allowPrune(): void {
    if (this.#convergence.allowPrune()) this.#schedule(this.#debounce);
  }

  /**
   * Watches the kernel and runs whenever there is reason to, until `signal` aborts. Stopping changes nothing.
   */
  start(signal: AbortSignal): void {
    signal.throwIfAborted();
    this.#isStarted = true;
    const { log, interval = INTERVAL } = this.#options;
    const watching = this.#kernel.watch({
      signal,
      desired: () => this.desired,
      concerns: (device) => this.#convergence.desired.concerns(device),
      onContradiction: (what, stands) => {
        log.debug({ what }, 'the kernel was changed by others');
        this.#suspect(stands);
      },
    });
    // The timer still finds what notifications would have reported.
    background('listening to the kernel', watching, log, signal);
    const regular = setInterval(() => this.#suspect(), interval);
    const stop = () => {
      clearInterval(regular);
      this[Symbol.dispose]();
    };
    signal.addEventListener('abort', stop, { once: true });
    this.#convergence.doubt();
    this.#schedule(0);
  }

  /**
   * Makes the kernel right now, and reports what that took. Rejects only when the kernel cannot be read at
   * all.
   */
  run(): Promise<Report> {
    return this.#inTurn(() => this.#run());
  }

  /**
   * What a run would change, without doing it. Usually nothing while the reconciler is running.
   */
  preview(): Promise<Change[]> {
    return this.#inTurn(() => this.#convergence.preview());
  }

  /** All that the kernel should hold, by key: a view that changes with the desired state. */
  get desired(): KernelState {
    return this.#convergence.desired.items;
  }

  /** What keeps owners from working, and which claims lost to others, for people. */
  get warnings(): readonly string[] {
    return this.#warnings;
  }

  /** All that is wanted and not in the kernel, as far as known. */
  get undone(): readonly Undone[] {
    const { undone, desired } = this.#convergence;
    return undone.list((key) => desired.ownerOf(key));
  }

  /** Resolves when no run is under way: after the signal aborted, for good. */
  async idle(): Promise<void> {
    await this.#queue.idle();
  }

  /** Ends a reconciler that was never started; a started one ends with its signal. */
  [Symbol.dispose](): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#alarm.stop();
    const closed = this.#queue.run(async () => {
      this.#kernel.close();
      this.#misses?.[Symbol.dispose]();
    });
    background('closing the reconciler', closed, this.#options.log);
  }

  /** One after another: the desired state does not change until `work` ends. */
  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    return this.#queue.run(async () => {
      this.#adopt();
      try {
        return await work();
      } finally {
        this.#adopt();
      }
    });
  }

  /** Adopts what is desired now. */
  #adopt(): void {
    if (!this.#next) return;
    const isWork = this.#convergence.setDesired(this.#next);
    this.#next = undefined;
    this.#warn(this.#convergence.desired.warnings);
    // At once: the caller has gathered changes already.
    if (isWork) this.#schedule(0);
  }

  #warn(warnings: readonly string[]): void {
    if (warnings === this.#warnings) return;
    const known = new Set(this.#warnings);
    const fresh = warnings.filter((text) => !known.has(text));
    this.#warnings = warnings;
    if (fresh.length === 0) return;
    const shown = fresh.slice(0, MAX_LOGGED);
    this.#options.log.warn({ warnings: shown, count: fresh.length }, 'the network is not whole');
  }

  get #debounce(): number {
    return this.#options.debounce ?? DEBOUNCE;
  }

  #suspect(stands: () => boolean = () => true): void {
    // Many at once are usually real.
    if (this.#suspicions.length < MAX_SUSPICIONS) this.#suspicions.push(stands);
    else this.#convergence.doubt();
    this.#schedule(Math.max(this.#debounce, this.#rested - performance.now()));
  }

  #schedule(delay: number): void {
    if (this.#isStarted) this.#alarm.set(delay);
  }

  async #runByItself(): Promise<void> {
    try {
      await this.run();
    } catch (error) {
      this.#options.log.warn({ error: messageOf(error) }, 'the kernel could not be read');
      this.#options.onFailure?.(error);
    }
  }

  async #run(): Promise<Report> {
    const begin = performance.now();
    try {
      const { done, failed, full } = await this.#step();
      if (this.#answersDue || full) {
        this.#answersDue = false;
        await this.#misses?.correct();
      }
      const report = { done, undone: this.undone, full, duration: performance.now() - begin };
      if (full) this.#rested = performance.now() + Math.min(REST * report.duration, MAX_REST);
      this.#tell(report);
      if (failed.length > 0) this.#retryLater();
      else this.#backoff.reset();
      return report;
    } catch (error) {
      this.#troubled = true;
      this.#retryLater();
      throw error;
    }
  }

  /** Reads the kernel after others' changes only if these still contradict the desired state. */
  async #step(): ReturnType<Convergence['step']> {
    const suspicions = this.#suspicions;
    this.#suspicions = [];
    const first = await this.#convergence.step();
    if (first.full || !suspicions.some((stands) => stands())) return first;
    this.#convergence.doubt();
    const second = await this.#convergence.step();
    return { ...second, done: [...first.done, ...second.done] };
  }

  #retryLater(): void {
    this.#convergence.doubt();
    this.#schedule(this.#backoff.next());
  }

  #tell(report: Report): void {
    const { log, onReport } = this.#options;
    const { done, undone, duration } = report;
    if (done.length > 0) {
      const changes = done.slice(0, MAX_LOGGED).map(changeText);
      log.info({ changes, count: done.length, ms: Math.round(duration) }, 'kernel changed');
    }
    this.#convergence.undone.log(log);
    // Also once the trouble is over, whoever ended it.
    if (done.length > 0 || undone.length > 0 || this.#troubled) onReport?.(report);
    this.#troubled = undone.length > 0;
  }
}
