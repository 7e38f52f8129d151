import type { Network } from '../../cluster/network.ts';
import type { Node } from '../../cluster/node.ts';
import type { Resources } from '../../cluster/resources.ts';

/** Views of the cluster as it changes. */
export interface ClusterFeed {
  /**
   * Yields the whole cluster once all of it is known, then again after every change (changes close together
   * are combined). Reconnects automatically; yields nothing while the store is unreachable or has come back
   * empty. Unchanged parts are the same objects in the next view. Ends when `signal` aborts or the store is
   * closed.
   */
  watch(signal: AbortSignal): AsyncIterable<ClusterView>;
  /**
   * What the store holds but nobody can use, human-readable: each key or part of one, why, and what is used
   * instead. Known while `watch` runs.
   */
  readonly unusable: readonly string[];
}

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
