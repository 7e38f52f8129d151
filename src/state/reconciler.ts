import { messageOf } from '../error.ts';
import type { Log } from '../log.ts';
import { converge, delta } from './converge.ts';
import { diff } from './diff.ts';
import { byKey, type Change, type Item, type KernelState, keyOf, same } from './item.ts';
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

export type Report = Outcome & {
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
  /** What is not in the kernel, and why, as last said: it is said once. */
  #complaints = new Map<string, string>();
  #desired: KernelState = new Map();
  /** What the kernel is known to hold of the desired state, by key. */
  #held = new Map<string, Item>();
  /** Keys whose item was changed by `setDesired` since the last run. */
  #dirty = new Set<string>();
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

  /** Replaces what is desired; once started, the kernel follows. Cheap for items that are the same objects as before. */
  setDesired(items: Iterable<Item>): void {
    const next = byKey(items);
    let kept = 0;
    for (const [key, item] of next) {
      const before = this.#desired.get(key);
      if (before) kept++;
      if (before === item) continue;
      if (before && same(before, item)) next.set(key, before);
      else this.#dirty.add(key);
    }
    if (kept < this.#desired.size) {
      for (const key of this.#desired.keys()) if (!next.has(key)) this.#dirty.add(key);
    }
    this.#desired = next;
    // At once: whoever tells us has gathered already, and what comes during a run waits for the next.
    if (this.#dirty.size > 0) this.#schedule(0);
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
      desired: () => this.#desired,
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
    const run = this.#last.then(() => this.#run());
    this.#last = run.catch(() => undefined); // whoever called gets the error
    return run;
  }

  /** What a run would change, without doing it. Between two runs of one that is at work: nothing, as a rule. */
  preview(): Promise<Change[]> {
    const look = this.#last.then(async () =>
      order(diff(await this.#kernel.read(this.#desired), this.#desired, { prune: this.#prune })).flat(),
    );
    this.#last = look.catch(() => undefined);
    return look;
  }

  /** All that the kernel should hold. */
  get desired(): KernelState {
    return this.#desired;
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
      const outcome = await this.#reconcile();
      if (this.#answersDue || outcome.full) {
        this.#answersDue = false;
        await this.#misses?.correct();
      }
      const report = { ...outcome, duration: performance.now() - begin };
      if (report.full) this.#rested = performance.now() + Math.min(REST * report.duration, MAX_REST);
      this.#tell(report);
      if (report.failed.length > 0) this.#retryLater();
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
    const [desired, keys] = [this.#desired, this.#dirty];
    this.#dirty = new Set();
    const known = this.#stale ? undefined : delta(this.#held, desired, keys, this.#prune);
    // Before reading: what happens from now on must be looked at again.
    this.#stale = false;
    const direct = known ? await this.#kernel.apply(order(known)) : undefined;
    if (direct && direct.failed.length === 0) {
      this.#remember(direct.done, desired, keys);
      return { ...direct, full: false };
    }
    const { held, done, failed, waiting } = await converge(this.#kernel, desired, this.#prune);
    this.#held = held;
    return { done: [...(direct?.done ?? []), ...done], failed, waiting, full: true };
  }

  #remember(done: readonly Change[], desired: KernelState, keys: Iterable<string>): void {
    for (const { item } of done) this.#held.set(keyOf(item), item);
    for (const key of keys) if (!desired.has(key)) this.#held.delete(key);
  }

  #tell(report: Report): void {
    const { log, onReport } = this.#options;
    const { done, failed, waiting, full, duration } = report;
    if (done.length > 0) {
      const changes = done.slice(0, MAX_LOGGED).map(changeText);
      log.info({ changes, count: done.length, ms: Math.round(duration) }, 'kernel changed');
    }
    const complaints = new Map(full ? [] : this.#complaints);
    for (const { item } of done) complaints.delete(keyOf(item));
    for (const { change, error } of failed) complaints.set(keyOf(change.item), messageOf(error));
    for (const { change, reason } of waiting) complaints.set(keyOf(change.item), reason);
    const fresh = [...complaints].filter(([key, text]) => this.#complaints.get(key) !== text);
    if (fresh.length > 0) {
      const reasons = fresh.slice(0, MAX_LOGGED).map(([key, text]) => `${key}: ${text}`);
      log.warn({ reasons, count: fresh.length }, 'not in the kernel yet');
    }
    this.#complaints = complaints;
    const troubled = failed.length + waiting.length > 0;
    // Whoever ended the trouble.
    if (done.length > 0 || troubled || this.#troubled) onReport?.(report);
    this.#troubled = troubled;
  }
}
