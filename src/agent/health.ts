import { messageOf } from '../error.ts';
import type { Log } from '../log.ts';
import type { Report } from '../state/reporter.ts';
import { failures, ownProblem, unguarded } from './report.ts';

/** The loop's health, human-readable. */
export type LoopStatus = {
  /** Reconciler runs that changed something or failed to. */
  readonly runs: number;
  readonly lastChanges: number;
  readonly failures: readonly string[];
  /** Why pods on the bridge are not guarded, if they are not. */
  readonly unguarded: string | undefined;
};

/** What the reconciler's reports say about this node. */
export class Health {
  readonly #log: Log;
  readonly #recorded = new WeakSet<Report>();
  #status: LoopStatus = { runs: 0, lastChanges: 0, failures: [], unguarded: undefined };
  #problem: string | undefined = 'the agent is starting';

  constructor(log: Log) {
    this.#log = log;
  }

  get status(): LoopStatus {
    return this.#status;
  }

  /** Why the kernel doesn't hold this node's own part; undefined when it does. */
  get problem(): string | undefined {
    return this.#problem;
  }

  /** Returns false for a report that was recorded before: a requested run's arrives twice. */
  record(report: Report): boolean {
    if (this.#recorded.has(report)) return false;
    this.#recorded.add(report);
    const { done, undone, unknown } = report;
    const isRun = done.length > 0 || undone.length > 0;
    this.#status = {
      runs: this.#status.runs + (isRun ? 1 : 0),
      lastChanges: isRun ? done.length : this.#status.lastChanges,
      failures: failures(undone),
      unguarded: unguarded(undone),
    };
    this.#setProblem(ownProblem(undone) ?? unknown);
    return true;
  }

  unreadable(error: unknown): void {
    this.#setProblem(`the kernel cannot be read: ${messageOf(error)}`);
  }

  #setProblem(problem: string | undefined): void {
    if (problem !== this.#problem && problem) this.#log.error({ problem }, 'not ready');
    this.#problem = problem;
  }
}
