import type { PolicyView } from '../../policy/model/view.ts';
import type { Problem } from '../../problem.ts';

/** Network policies, and whom they are about, as they change. */
export interface PolicyFeed {
  /**
   * Yields all that policies depend on once it is known, then again after every change (changes close
   * together are combined). Reconnects automatically; yields nothing while the store is unreachable: what was
   * last known stays in force. Ends when `signal` aborts.
   */
  watch(signal: AbortSignal): AsyncIterable<PolicyView>;
  /** What keeps the views from being complete and current, while someone watches. */
  readonly problems: readonly Problem[];
}
