import type { BlockStore } from './blocks.ts';
import type { Duties } from './duties.ts';
import type { ClusterFeed } from './feed.ts';
import type { Membership } from './membership.ts';
import type { NetworkStore } from './network.ts';
import type { PodRegistry, PolicyFeed, PolicyObjects } from './policies.ts';
import type { ResourceStore } from './resources.ts';

/**
 * Storage of the cluster's facts, as narrow ports with the domain's verbs. Callers take the port they need,
 * not the store. Every implementation passes the suites in test/store/ports.
 *
 * The ports assume little, so that many stores can implement them: objects change one at a time by
 * compare-and-swap, can be listed, and can be watched. Nothing needs a transaction across two objects, a
 * lease, or an order of versions. Every method throws STORE_UNAVAILABLE while the store does not answer; a
 * write may nevertheless have happened.
 */
export interface Store {
  readonly network: NetworkStore;
  readonly membership: Membership;
  readonly feed: ClusterFeed;
  readonly resources: ResourceStore;
  readonly blocks: BlockStore;
  /** Absent where network policies have no place. */
  readonly policies?: PolicyFeed;
  /** Absent where others than nodes tell the store of pods. */
  readonly pods?: PodRegistry;
  /** Absent where policies are written by other means than ours. */
  readonly policyObjects?: PolicyObjects;
  /** Absent where nobody but an operator says that a node is gone. */
  readonly duties?: Duties;
  /** Ends watches, claims and connections. The stored data stays. */
  close(): void;
}
