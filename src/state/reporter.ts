import type { Log } from '../log.ts';
import type { Problem } from '../problem.ts';
import type { Convergence } from './convergence.ts';
import type { Change } from './item.ts';
import { Journal } from './journal.ts';
import type { Kernel } from './kernel.ts';
import type { Undone } from './undone.ts';

/** What a run did, and what it and earlier ones left undone. */
export type Report = {
  /** The changes this run made. */
  readonly done: readonly Change[];
  /** All pending and failed changes, whichever run found them. */
  readonly undone: readonly Undone[];
  /** Why part of the kernel has never been read; absent if all has. */
  readonly unknown?: string;
  /** Whether the kernel was read as a whole; otherwise only known changes were made. */
  readonly full: boolean;
  /** Milliseconds. */
  readonly duration: number;
};

export type ReporterOptions = {
  readonly kernel: Kernel;
  readonly convergence: Convergence;
  readonly log: Log;
  /**
   * Called after each run that changed something, left something undone, or was the first to leave nothing
   * undone.
   */
  readonly onReport?: ((report: Report) => void) | undefined;
};

/** Reports on a reconciler's runs, to the log and to whoever asked for it. */
export class Reporter {
  readonly #options: ReporterOptions;
  readonly #journal: Journal;
  /** Whether the last run left something undone. */
  #wasIncomplete = false;

  constructor(options: ReporterOptions) {
    this.#options = options;
    this.#journal = new Journal(options.log);
  }

  /** Owners' problems and lost claims: each is logged once. */
  warn(warnings: readonly Problem[]): void {
    this.#journal.warn(warnings);
  }

  /** All known pending and failed changes. */
  get undone(): readonly Undone[] {
    const { undone, desired } = this.#options.convergence;
    return undone.list((key) => desired.ownerOf(key));
  }

  /** Describes a run that began at `begin`, by `performance.now`, and has made its changes. */
  report(done: readonly Change[], full: boolean, begin: number): Report {
    const { unknown } = this.#options.kernel;
    return {
      done,
      undone: this.undone,
      ...(unknown !== undefined && { unknown }),
      full,
      duration: performance.now() - begin,
    };
  }

  publish(report: Report): void {
    const { log, onReport, kernel, convergence } = this.#options;
    const { done, undone } = report;
    const { isOutdated, troubles } = kernel;
    this.#journal.changed(report);
    convergence.undone.log(log);
    this.#journal.troubled(isOutdated ? troubles : []);
    // Also once nothing is left undone, whatever resolved it.
    const isIncomplete = undone.length > 0 || isOutdated;
    if (done.length > 0 || isIncomplete || this.#wasIncomplete) onReport?.(report);
    this.#wasIncomplete = isIncomplete;
  }

  /** A run failed: the next report is published, even if it has nothing to say. */
  failed(): void {
    this.#wasIncomplete = true;
  }
}
