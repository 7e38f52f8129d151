import { messageOf } from '../error.ts';
import type { Log } from '../log.ts';
import { Composition, type Contribution, type Owner } from './contributions.ts';
import { converge, delta } from './converge.ts';
import { diff } from './diff.ts';
import { type Change, type Item, type KernelState, keyOf } from './item.ts';
import { Kernel, type Outcome } from './kernel.ts';
import type { Resolve } from './kinds/fdb.ts';
import { Misses } from './misses.ts';
import { order } from './order.ts';
import { changeText } from './print.ts';

const INTERVAL = 30_000;
const FIRST_RETRY = 100;
/** After reading the whole kernel, contradictions wait so many times as long as that took: others may contradict for ever. */
const REST = 3;
const MAX_REST = 500;
const MAX_LOGGED = 20;

export type ReconcilerOptions = {
  /** Path or descriptor of the namespace to keep right; by default the process's own. */
  readonly netns?: string | number | undefined;
  readonly log: Log;
  /** Milliseconds between full checks when nothing happens, and between retries at most. Default 30 000. */
  readonly interval?: number;
  /** Milliseconds in which the kernel's notifications are gathered into one run. Default 10. */
  readonly debounce?: number;
  /** After each run that changed something or could not, and after the first one without trouble. */
  readonly onReport?: (report: Report) => void;
  /** After each run that could not even read the kernel. */
  readonly onFailure?: (error: unknown) => void;
  /** Somebody changed a table of nftables that is not ours, or may have. */
  readonly onForeignTable?: () => void;
  /** Answers what the kernel asks on devices with `onDemand`. */
  readonly resolve?: Resolve;
};

/** A change that was to be made and is not. */
export type Undone = {
  readonly change: Change;
  /** Who wants it; undefined for what nobody wants any more. */
  readonly owner: Owner | undefined;
  readonly reason: string;
  /** Absent: it waits, as the device it needs is absent or down. */
  readonly error?: Error;
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
 * The only code that changes the kernel: holds it to the desired state. Runs when the desired state changes, when the
 * kernel reports something that contradicts it, and on a timer; never two runs at once. When only the desired state
 * changed, the change is made without reading the kernel: one peer costs a few requests however large the cluster.
 */
export class Reconciler implements Disposable {
  readonly #options: ReconcilerOptions;
  readonly #kernel: Kernel;
  readonly #misses: Misses | undefined;
  readonly #composition = new Composition();
  /** Contributions that came during a run, which must not see them. */
  #next: readonly Contribution[] | undefined;
  #isRunning = false;
  /** What the kernel is known to hold of each key that changed since the last run. */
  #dirty = new Map<string, Item | undefined>();
  /** What is not in the kernel, by key. */
  #undone = new Map<string, Omit<Undone, 'owner'>>();
  /** The reasons as last logged: each is logged once. */
  #complaints = new Map<string, string>();
  #warnings: readonly string[] = [];
  /** Nothing is believed of the kernel: it has to be read. */
  #stale = true;
  #prune = false;
  /** The answers in the kernel have to be compared with what `resolve` says now. */
  #answersDue = false;
  #last: Promise<unknown> = Promise.resolve();
  #signal: AbortSignal | undefined;
  #closed = false;
  #timer: NodeJS.Timeout | undefined;
  #due = Number.POSITIVE_INFINITY;
  #retry = FIRST_RETRY;
  /** Whether the last run left something undone. */
  #troubled = false;
  /** When the kernel may be read as a whole again, by `performance.now`. */
  #rested = 0;

  /** Throws SYSCALL, and NOT_FOUND when there is no such namespace. */
  constructor(options: ReconcilerOptions) {
    const { netns, log, resolve, onForeignTable } = options;
    this.#options = options;
    const onMiss = (miss: Parameters<Misses['answer']>[0]) => this.#misses?.answer(miss);
    this.#kernel = new Kernel({ netns, onMiss, ...(onForeignTable && { onForeignTable }) });
    if (resolve) this.#misses = new Misses(netns, this.#kernel.devices, resolve, log);
  }

  /**
   * Replaces what is desired; once started, the kernel follows. Contributions that are the same objects as before cost
   * nothing. During a run they wait for its end.
   */
  setDesired(contributions: readonly Contribution[]): void {
    this.#next = contributions;
    if (!this.#isRunning) this.#adopt();
  }

  /** `resolve` may answer otherwise than before: a peer that moved must not be sought at its old place until its entries age. */
  answersChanged(): void {
    this.#answersDue = true;
    this.#schedule(this.#debounce);
  }

  /** The desired state now knows the whole cluster: what is ours and wanted by nobody is removed from here on. */
  allowPrune(): void {
    if (this.#prune) return;
    this.#prune = true;
    this.#stale = true;
    this.#schedule(this.#debounce);
  }

  /** Watches the kernel and runs whenever there is reason to, until `signal` aborts. Stopping changes nothing. */
  start(signal: AbortSignal): void {
    signal.throwIfAborted();
    this.#signal = signal;
    const { log, interval = INTERVAL } = this.#options;
    const watching = this.#kernel.watch({
      signal,
      desired: () => this.#composition.items,
      concerns: (device) => this.#composition.concerns(device),
      onContradiction: (what) => {
        log.debug({ what }, 'the kernel was changed by others');
        this.#contradicted();
      },
    });
    watching.catch((error: unknown) => {
      // The timer still finds what the notifications would have told.
      log.warn({ error: messageOf(error) }, 'the kernel is no longer listened to');
    });
    const regular = setInterval(() => this.#contradicted(), interval);
    const stop = () => {
      clearInterval(regular);
      this[Symbol.dispose]();
    };
    signal.addEventListener('abort', stop, { once: true });
    this.#stale = true;
    this.#schedule(0);
  }

  /** Makes the kernel right now, and says what that took. Rejects only when the kernel cannot be read at all. */
  run(): Promise<Report> {
    return this.#inTurn(() => this.#run());
  }

  /** What a run would change, without doing it. Between two runs of one that is at work: nothing, as a rule. */
  preview(): Promise<Change[]> {
    return this.#inTurn(async () => {
      const { items } = this.#composition;
      return order(diff(await this.#kernel.read(items), items, { prune: this.#prune })).flat();
    });
  }

  /** All that the kernel should hold, by key: a view that changes with the desired state. */
  get desired(): KernelState {
    return this.#composition.items;
  }

  /** What keeps owners from working, and who wants in vain what somebody else has, for people. */
  get warnings(): readonly string[] {
    return this.#warnings;
  }

  /** All that is wanted and not in the kernel, as far as known. */
  get undone(): readonly Undone[] {
    return [...this.#undone].map(([key, undone]) => ({ ...undone, owner: this.#composition.ownerOf(key) }));
  }

  /** Resolves when no run is under way: after the signal aborted, for good. */
  async idle(): Promise<void> {
    await this.#last;
  }

  /** Ends a reconciler that was never started; a started one ends with its signal. */
  [Symbol.dispose](): void {
    if (this.#closed) return;
    this.#closed = true;
    clearTimeout(this.#timer);
    void this.#last.then(() => {
      this.#kernel.close();
      this.#misses?.[Symbol.dispose]();
    });
  }

  /** One after the other: whoever reads the desired state sees one and the same until the end. */
  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#last.then(async () => {
      this.#isRunning = true;
      try {
        return await work();
      } finally {
        this.#isRunning = false;
        this.#adopt();
      }
    });
    this.#last = turn.catch(() => undefined); // whoever called gets the error
    return turn;
  }

  #adopt(): void {
    if (!this.#next) return;
    const changed = this.#composition.update(this.#next);
    this.#next = undefined;
    for (const [key, was] of changed) {
      if (!this.#dirty.has(key)) this.#dirty.set(key, this.#undone.has(key) ? undefined : was);
    }
    const { warnings } = this.#composition;
    const known = new Set(this.#warnings);
    const fresh = warnings.filter((text) => !known.has(text));
    if (fresh.length > 0) {
      const count = fresh.length;
      this.#options.log.warn({ warnings: fresh.slice(0, MAX_LOGGED), count }, 'the network is not whole');
    }
    this.#warnings = warnings;
    // At once: whoever tells us has gathered already.
    if (this.#dirty.size > 0) this.#schedule(0);
  }

  get #debounce(): number {
    return this.#options.debounce ?? 10;
  }

  #contradicted(): void {
    this.#stale = true;
    this.#schedule(Math.max(this.#debounce, this.#rested - performance.now()));
  }

  /** The earliest wish wins. */
  #schedule(delay: number): void {
    const due = performance.now() + delay;
    if (!this.#signal || this.#signal.aborted || due >= this.#due) return;
    clearTimeout(this.#timer);
    this.#due = due;
    this.#timer = setTimeout(() => void this.#onTimer(), delay);
  }

  async #onTimer(): Promise<void> {
    this.#due = Number.POSITIVE_INFINITY;
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
      const { done, full, failed } = await this.#reconcile();
      if (this.#answersDue || full) {
        this.#answersDue = false;
        await this.#misses?.correct();
      }
      const report = { done, undone: this.undone, full, duration: performance.now() - begin };
      if (full) this.#rested = performance.now() + Math.min(REST * report.duration, MAX_REST);
      this.#tell(report);
      if (failed.length > 0) this.#retryLater();
      else this.#retry = FIRST_RETRY;
      return report;
    } catch (error) {
      this.#troubled = true;
      this.#retryLater();
      throw error;
    }
  }

  #retryLater(): void {
    this.#stale = true;
    this.#schedule(this.#retry);
    this.#retry = Math.min(2 * this.#retry, this.#options.interval ?? INTERVAL);
  }

  async #reconcile(): Promise<Outcome & { readonly full: boolean }> {
    const { items } = this.#composition;
    const dirty = this.#dirty;
    this.#dirty = new Map();
    const isHeld = (key: string): boolean =>
      items.has(key) && !this.#undone.has(key) && !(dirty.has(key) && dirty.get(key) === undefined);
    const known = this.#stale ? undefined : delta(dirty, items, isHeld, this.#prune);
    // Before reading: what happens from now on must be looked at again.
    this.#stale = false;
    const direct = known ? await this.#kernel.apply(order(known)) : undefined;
    if (direct && direct.failed.length === 0) {
      for (const key of dirty.keys()) this.#undone.delete(key);
      this.#note(direct);
      return { ...direct, full: false };
    }
    const outcome = await converge(this.#kernel, items, this.#prune);
    this.#undone.clear();
    this.#note(outcome);
    return { ...outcome, done: [...(direct?.done ?? []), ...outcome.done], full: true };
  }

  /** Adds what was not done to what is known to be undone. */
  #note({ failed, waiting }: Outcome): void {
    const note = (change: Change, rest: Pick<Undone, 'reason' | 'error'>): void => {
      this.#undone.set(keyOf(change.item), { change, ...rest });
    };
    for (const { change, error } of failed) note(change, { reason: messageOf(error), error });
    for (const { change, reason } of waiting) note(change, { reason });
  }

  #tell(report: Report): void {
    const { log, onReport } = this.#options;
    const { done, undone, duration } = report;
    if (done.length > 0) {
      const changes = done.slice(0, MAX_LOGGED).map(changeText);
      log.info({ changes, count: done.length, ms: Math.round(duration) }, 'kernel changed');
    }
    const complaints = new Map(undone.map(({ change, reason }) => [keyOf(change.item), reason]));
    const fresh = [...complaints].filter(([key, reason]) => this.#complaints.get(key) !== reason);
    if (fresh.length > 0) {
      const reasons = fresh.slice(0, MAX_LOGGED).map(([key, reason]) => `${key}: ${reason}`);
      log.warn({ reasons, count: fresh.length }, 'not in the kernel yet');
    }
    this.#complaints = complaints;
    const troubled = undone.length > 0;
    // Whoever ended the trouble.
    if (done.length > 0 || troubled || this.#troubled) onReport?.(report);
    this.#troubled = troubled;
  }
}
