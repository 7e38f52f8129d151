import { background } from '../async/background.ts';
import { Queue } from '../async/queue.ts';
import { messageOf } from '../error.ts';
import type { Problem } from '../problem.ts';
import { type Admission, Admissions } from './admissions.ts';
import { Announcements } from './announcements.ts';
import type { Contribution } from './contributions.ts';
import { Convergence } from './convergence.ts';
import type { Prune } from './diff.ts';
import { type Change, type Item, type KernelState, kindOf } from './item.ts';
import { Kernel } from './kernel.ts';
import { Misses } from './misses.ts';
import type { ReconcilerOptions } from './options.ts';
import { type Report, Reporter } from './reporter.ts';
import { Schedule } from './schedule.ts';
import { Suspicions } from './suspicions.ts';
import type { Undone } from './undone.ts';

/**
 * Keeps the kernel in the desired state; no other code changes the kernel. Runs when the desired state
 * changes, when the kernel reports a contradiction, and periodically; never two runs at once. If only the
 * desired state has changed, the change is made without reading the kernel: one peer costs a few requests,
 * however large the cluster.
 */
export class Reconciler implements Disposable {
  readonly #options: ReconcilerOptions;
  readonly #kernel: Kernel;
  readonly #misses: Misses | undefined;
  readonly #convergence: Convergence;
  readonly #reporter: Reporter;
  readonly #announcements: Announcements;
  readonly #queue = new Queue();
  readonly #admissions = new Admissions(this.#queue, (all) => this.#exclusively(() => this.#admit(all)));
  readonly #schedule: Schedule;
  /** Contributions received during a run. */
  #next: readonly Contribution[] | undefined;
  /** The run that has not begun. */
  #nextRun: Promise<Report> | undefined;
  /** Whether a run is under way, not merely queued: its end adopts `#next`. */
  #isRunning = false;
  /** The kernel's on-demand entries have to be checked against `resolve`. */
  #answersDue = false;
  #isClosed = false;
  readonly #suspicions = new Suspicions();

  /** Throws SYSCALL, or NOT_FOUND if the namespace does not exist. */
  constructor(options: ReconcilerOptions) {
    const { netns, log, resolve, onEvent, onForeignTable } = options;
    this.#options = options;
    this.#schedule = new Schedule(() => void this.#runUnattended(), options);
    this.#kernel = new Kernel({
      netns,
      onEvent: (event) => {
        if (event.type === 'miss') this.#misses?.answer(event);
        onEvent?.(event);
      },
      ...(onForeignTable && { onForeignTable }),
    });
    this.#convergence = new Convergence(this.#kernel);
    const { onReport } = options;
    this.#reporter = new Reporter({ kernel: this.#kernel, convergence: this.#convergence, log, onReport });
    const announce = (bridge: string) => this.#queue.run(() => this.#kernel.announce(bridge));
    this.#announcements = new Announcements(announce, log);
    if (resolve) this.#misses = new Misses(netns, this.#kernel.devices, resolve, log);
  }

  /**
   * Replaces the desired state; once started, the kernel follows. Unchanged contribution objects cost
   * nothing. During a run, the new state waits for its end.
   */
  setDesired(contributions: readonly Contribution[]): void {
    this.#next = contributions;
    if (!this.#isRunning) this.#adopt();
  }

  /** `resolve` may now answer differently: corrects the kernel's entries instead of letting them age out. */
  answersChanged(): void {
    this.#answersDue = true;
    this.#schedule.soon();
  }

  /**
   * From now on, undesired items of ours are removed: all, as the desired state covers the whole cluster, or
   * those of which `which` says so.
   */
  allowPrune(which: Prune = true): void {
    if (this.#convergence.allowPrune(which)) this.#schedule.soon();
  }

  /**
   * Watches the kernel and runs whenever necessary, until `signal` aborts. Stopping leaves the kernel as it
   * is.
   */
  start(signal: AbortSignal): void {
    signal.throwIfAborted();
    const { log } = this.#options;
    const watch: Parameters<Kernel['watch']>[0] = {
      signal,
      desired: () => this.desired,
      involves: (device) =>
        this.#convergence.desired.involves(device) || this.#convergence.undone.involves(device),
      isDue: (device) => this.#convergence.isDue(device),
      onContradiction: (what, persists) => {
        log.debug({ what }, 'external change to the kernel');
        this.#suspect(persists);
      },
    };
    // While listening fails, the timer still finds external changes.
    const watching = this.#kernel.watch(watch, log);
    background('listening for kernel notifications', watching, log, signal);
    signal.addEventListener('abort', () => this[Symbol.dispose](), { once: true });
    this.#convergence.doubt();
    this.#schedule.start(() => this.#suspect());
  }

  /**
   * Brings the kernel into the desired state and reports the changes. Rejects only if the kernel can't be
   * read at all. Calls during a run share the next one.
   */
  run(): Promise<Report> {
    this.#nextRun ??= this.#inTurn(() => this.#run());
    return this.#nextRun;
  }

  /**
   * Adds a contribution to the desired state, until the next one replaces that, and makes the changes to its
   * `urgent` items: ahead of all others, together with others that wait to be admitted, and without reading
   * the kernel where possible. The other items follow with the next desired state, or soon. Rejects like
   * `run`, and with the signal's reason if that aborts first: the contribution is no longer wanted then.
   */
  async admit(
    contribution: Contribution,
    urgent: readonly Item[] = contribution.items,
    signal?: AbortSignal,
  ): Promise<Report> {
    const report = await this.#admissions.run({ contribution, urgent }, signal);
    return report ?? this.run();
  }

  /**
   * Returns the changes that a run would make, without making them. Usually none while the reconciler is
   * running.
   */
  preview(): Promise<Change[]> {
    return this.#inTurn(() => this.#convergence.preview());
  }

  /** The desired items by key, as a live view. */
  get desired(): KernelState {
    return this.#convergence.desired.items;
  }

  /** Owners' problems and lost claims, for people. */
  get warnings(): readonly Problem[] {
    return this.#convergence.desired.warnings;
  }

  /** What keeps it from seeing the kernel as it is, for people. */
  get troubles(): readonly Problem[] {
    return this.#kernel.troubles;
  }

  /** All known pending and failed changes. */
  get undone(): readonly Undone[] {
    return this.#reporter.undone;
  }

  /** Resolves when no run is in progress; after the signal has aborted, none follows. */
  async idle(): Promise<void> {
    await this.#queue.idle();
  }

  /** Closes a reconciler that was never started; a started one is closed by its signal. */
  [Symbol.dispose](): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#announcements[Symbol.dispose]();
    this.#schedule.stop();
    const closed = this.#queue.run(async () => {
      this.#kernel.close();
      this.#misses?.[Symbol.dispose]();
    });
    background('closing the reconciler', closed, this.#options.log);
  }

  /** Runs `work` when its turn comes; the desired state does not change until it ends. */
  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    return this.#queue.run(async () => {
      try {
        this.#options.onRun?.();
        this.#adopt();
      } finally {
        this.#nextRun = undefined;
      }
      return this.#exclusively(work);
    });
  }

  /** Runs `work`, which has its turn: the desired state changes afterwards. */
  async #exclusively<T>(work: () => Promise<T>): Promise<T> {
    this.#isRunning = true;
    try {
      return await work();
    } finally {
      this.#isRunning = false;
      this.#adopt();
    }
  }

  /** Adopts the latest contributions. */
  #adopt(): void {
    if (!this.#next) return;
    const isWork = this.#convergence.setDesired(this.#next);
    this.#next = undefined;
    this.#reporter.warn(this.#convergence.desired.warnings);
    // Immediately: the caller has already batched changes.
    if (isWork) this.#schedule.now();
  }

  #suspect(persists: () => boolean = () => true): void {
    if (!this.#suspicions.add(persists)) this.#convergence.doubt();
    this.#schedule.soon(this.#suspicions.wait);
  }

  async #runUnattended(): Promise<void> {
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
      this.#kernel.catchUp();
      const { done, failed, full } = await this.#step();
      if (this.#answersDue || full) {
        this.#answersDue = false;
        await this.#misses?.correct();
      }
      this.#announcements.repeat(done);
      const report = this.#reporter.report(done, full, begin);
      if (full) this.#suspicions.rest(report.duration);
      this.#reporter.publish(report);
      if (failed.length > 0 || this.#kernel.isOutdated) this.#retryLater();
      else this.#schedule.succeeded();
      return report;
    } catch (error) {
      this.#failed();
      throw error;
    }
  }

  /** Undefined if a run has to follow. */
  async #admit(admissions: readonly Admission[]): Promise<Report | undefined> {
    const begin = performance.now();
    try {
      // They tell of states older than what is read next, if anything is.
      const isRead = admissions.some(({ urgent }) => urgent.some((item) => kindOf(item).provides));
      if (isRead) this.#kernel.catchUp();
      const outcome = await this.#convergence.admit(admissions);
      if (!outcome) return undefined;
      const report = this.#reporter.report(outcome.done, false, begin);
      this.#reporter.publish(report);
      return report;
    } catch (error) {
      this.#failed();
      throw error;
    }
  }

  #failed(): void {
    this.#reporter.failed();
    this.#retryLater();
  }

  /** Reads the kernel after external changes only if they still contradict the desired state. */
  async #step(): ReturnType<Convergence['step']> {
    const suspicions = this.#suspicions.take();
    const first = await this.#convergence.step();
    if (first.full || !suspicions.some((persists) => persists())) return first;
    this.#convergence.doubt();
    const second = await this.#convergence.step();
    return { ...second, done: [...first.done, ...second.done] };
  }

  #retryLater(): void {
    this.#convergence.doubt();
    this.#schedule.retry();
  }
}
