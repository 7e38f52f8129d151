import type { Entity, PodEntity } from './entity.ts';
import type { PolicyId, Tier } from './policy.ts';

/**
 * All that policies say, and are about, as a store has it. Unchanged parts are the same objects in the next
 * view.
 */
export type PolicyView = {
  /** In order. */
  readonly tiers: readonly Tier[];
  /** The cluster’s pods but those on their node’s own network, by `namespace/name`. */
  readonly pods: ReadonlyMap<string, PodEntity>;
  /** Nodes and network sets. */
  readonly others: readonly Entity[];
  /** Policies and what belongs to them that cannot be read, and why; whether that closes pods. */
  readonly problems: readonly {
    readonly policy: PolicyId;
    readonly problem: string;
    readonly closes: boolean;
  }[];
};
