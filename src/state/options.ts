import type { MonitorEvent } from '../linux/event.ts';
import type { Log } from '../log.ts';
import type { Resolve } from './kinds/fdb.ts';
import type { Report } from './reporter.ts';
import type { Pace } from './schedule.ts';

/** Of a reconciler: what it manages, how eagerly, and whom it tells. */
export type ReconcilerOptions = Pace & {
  /** Path or descriptor of the network namespace to manage; by default the process's own. */
  readonly netns?: string | number | undefined;
  readonly log: Log;
  /**
   * Called after each run that changed something, left something undone, or was the first to leave nothing
   * undone.
   */
  readonly onReport?: (report: Report) => void;
  /** Called after each run that could not even read the kernel. */
  readonly onFailure?: (error: unknown) => void;
  /** Called before each run: the time for a desired state that is due. */
  readonly onRun?: () => void;
  /** Called with every notification of rtnetlink's, so that nobody else needs to listen and decode. */
  readonly onEvent?: (event: KernelEvent) => void;
  /** Called when an nftables table that is not ours has changed, or may have. */
  readonly onForeignTable?: () => void;
  /** Answers misses on devices with `onDemand`. */
  readonly resolve?: Resolve;
};

/** A notification of rtnetlink's. */
export type KernelEvent = MonitorEvent;
