import { messageOf } from '../error.ts';
import { type Converged, converge, delta } from './converge.ts';
import type { Change } from './diff.ts';
import type { Item, KernelState } from './item.ts';
import { Kernel, type Outcome } from './kernel.ts';
import { byKey, keyOf, same } from './key.ts';
import type { Log } from './log.ts';
import { order } from './order.ts';
import { changeText } from './print.ts';
import { type Resolve, watchKernel } from './watch.ts';

const FIRST_RETRY = 100;
const MAX_LOGGED = 20;

export type ReconcilerOptions = {
  /** Path or descriptor of the namespace to keep right; by default the process's own. */
  readonly netns?: string | number | undefined;
  readonly log: Log;
  /** Milliseconds between full checks when nothing happens, and between retries at most. Default 30 000. */
  readonly interval?: number;
  /** Milliseconds in which events are gathered into one run. Default 10. */
  readonly debounce?: number;
  /** After each run that changed something or could not. */
  readonly onReport?: (report: Report) => void;
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
  readonly #complaints = new Map<string, string>();
  #desired: KernelState = new Map();
  /** What the kernel is known to hold of the desired state, by key. */
  #held = new Map<string, Item>();
  /** Keys whose item was changed by `setDesired` since the last run. */
  #dirty = new Set<string>();
  /** Nothing is believed of the kernel: it has to be read. */
  #stale = true;
  #prune = false;
  #last: Promise<unknown> = Promise.resolve();
  #signal: AbortSignal | undefined;
  #closed = false;
  #timer: NodeJS.Timeout | undefined;
  #due = Number.POSITIVE_INFINITY;
  #retry = FIRST_RETRY;

  /** Throws SYSCALL, and NOT_FOUND when there is no such namespace. */
  constructor(options: ReconcilerOptions) {
    this.#options = options;
    this.#kernel = Kernel.open(options.netns);
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
    if (this.#dirty.size > 0) this.#schedule(this.#debounce);
  }

  /** The desired state now knows the whole cluster: what is ours and wanted by nobody is removed from here on. */
  allowPrune(): void {
    if (this.#prune) return;
    this.#prune = true;
    this.#contradicted();
  }

  /** Watches the kernel and runs whenever there is reason to, until `signal` aborts. Stopping changes nothing. */
  start(signal: AbortSignal): void {
    signal.throwIfAborted();
    this.#signal = signal;
    const { netns, log, resolve, interval = 30_000 } = this.#options;
    const watching = watchKernel({
      netns,
      log,
      signal,
      kernel: this.#kernel,
      resolve,
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
    this.#contradicted();
  }

  /** Makes the kernel right now, and says what that took. Rejects only when the kernel cannot be read at all. */
  run(): Promise<Report> {
    const run = this.#last.then(() => this.#run());
    this.#last = run.catch(() => undefined); // whoever called gets the error
    return run;
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
    void this.#last.then(() => this.#kernel.close());
  }

  get #debounce(): number {
    return this.#options.debounce ?? 10;
  }

  #contradicted(): void {
    this.#stale = true;
    this.#schedule(this.#debounce);
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
      const { failed } = await this.run();
      if (failed.length === 0) {
        this.#retry = FIRST_RETRY;
        return;
      }
    } catch (error) {
      this.#options.log.warn({ error: messageOf(error) }, 'the kernel could not be read');
    }
    this.#stale = true;
    this.#schedule(this.#retry);
    this.#retry = Math.min(2 * this.#retry, this.#options.interval ?? 30_000);
  }

  async #run(): Promise<Report> {
    const begin = performance.now();
    const [desired, keys] = [this.#desired, this.#dirty];
    this.#dirty = new Set();
    const known = this.#stale ? undefined : delta(this.#held, desired, keys, this.#prune);
    let full = known === undefined;
    // Set before reading: what happens from now on must be looked at again.
    this.#stale = false;
    try {
      let outcome: Outcome = known ? await this.#kernel.apply(order(known)) : NOTHING;
      if (outcome.failed.length > 0) full = true;
      if (full) {
        const { done } = outcome;
        const converged: Converged = await converge(this.#kernel, desired, this.#prune);
        this.#held = converged.held;
        outcome = { ...converged, done: [...done, ...converged.done] };
      } else this.#remember(outcome.done);
      const report = { ...pick(outcome), full, duration: performance.now() - begin };
      this.#tell(report);
      return report;
    } catch (error) {
      this.#stale = true;
      throw error;
    }
  }

  #remember(done: readonly Change[]): void {
    for (const { action, item } of done) {
      if (action === 'delete') this.#held.delete(keyOf(item));
      else this.#held.set(keyOf(item), item);
    }
  }

  #tell(report: Report): void {
    const { log, onReport } = this.#options;
    const { done, failed, waiting, duration } = report;
    if (done.length > 0) {
      const changes = done.slice(0, MAX_LOGGED).map(changeText);
      log.info({ changes, count: done.length, ms: Math.round(duration) }, 'kernel changed');
    }
    const complaints = new Map<string, string>();
    for (const { change, error } of failed) complaints.set(keyOf(change.item), messageOf(error));
    for (const { change, reason } of waiting) complaints.set(keyOf(change.item), reason);
    const fresh = [...complaints].filter(([key, text]) => this.#complaints.get(key) !== text);
    if (fresh.length > 0) {
      const texts = fresh.slice(0, MAX_LOGGED).map(([key, text]) => `${key}: ${text}`);
      log.warn({ reasons: texts, count: fresh.length }, 'not in the kernel yet');
    }
    this.#complaints.clear();
    for (const [key, text] of complaints) this.#complaints.set(key, text);
    if (done.length + failed.length + waiting.length > 0) onReport?.(report);
  }
}

const NOTHING: Outcome = { done: [], failed: [], waiting: [] };

function pick({ done, failed, waiting }: Outcome): Outcome {
  return { done, failed, waiting };
}
