import type { Network } from '../../cluster/network.ts';
import type { Node } from '../../cluster/node.ts';
import type { Resources } from '../../cluster/resources.ts';

/** The cluster as it changes. */
export interface ClusterFeed {
  /**
   * Yields the whole cluster, first when all of it is known, then after every change (changes close together
   * count as one). Reconnects by itself; while the store is away, or has come back empty, it yields nothing.
   * What did not change is the same object in the next view. Ends when `signal` aborts or the store is
   * closed.
   */
  watch(signal: AbortSignal): AsyncIterable<ClusterView>;
}

export type ClusterView = {
  readonly network: Network;
  /** With defaults filled in. */
  readonly resources: Resources;
  /**
   * Every node, this one included, sorted by name. Its subnets are those it may advertise: its leases or,
   * where addresses are blocks, the blocks whose affinity is confirmed.
   */
  readonly nodes: readonly Node[];
};
