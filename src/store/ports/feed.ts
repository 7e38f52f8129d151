import type { Network } from '../../cluster/network.ts';
import type { Node } from '../../cluster/node.ts';
import type { Resources } from '../../cluster/resources.ts';
import type { Problem } from '../../problem.ts';

/** Views of the cluster as it changes. */
export interface ClusterFeed {
  /**
   * Yields the whole cluster once all of it is known, then again after every change (changes close together
   * are combined). Reconnects automatically; yields nothing while the store is unreachable or has come back
   * empty. Unchanged parts are the same objects in the next view. Ends when `signal` aborts or the store is
   * closed.
   *
   * An object that cannot be read is named in `problems`; what was last good under its name stays in force
   * until it is deleted, and what never was good is left out. `last`: of an earlier view; its network is in
   * force until the store has a good one, and nodes that have not changed since may stay the same objects.
   */
  watch(signal: AbortSignal, last?: LastView): AsyncIterable<ClusterView>;
  /** What keeps the views from being complete and current, while someone watches. */
  readonly problems: readonly Problem[];
}

export type LastView = Pick<ClusterView, 'network' | 'nodes'>;

export type ClusterView = {
  readonly network: Network;
  /** With defaults filled in. */
  readonly resources: Resources;
  /**
   * Every node including this one, sorted by name. A node's subnets are those it may advertise: its leases
   * or, under the `blocks` plan, the blocks with a confirmed affinity.
   */
  readonly nodes: readonly Node[];
};
