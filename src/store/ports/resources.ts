import type { Occupied, Usage } from '../../cluster/calico/change.ts';
import type { Resource } from '../../cluster/calico/decode.ts';
import type { Document, Kind } from '../../cluster/calico/document.ts';
import type { IpPool } from '../../cluster/resources.ts';
import { contains } from '../../ip/cidr.ts';
import { type Block, tunnelHandle } from './blocks.ts';

/** Resources applied by operators: IPPool, BGPPeer and the like. */
export interface ResourceStore {
  /** Lists one kind or all, by kind and name. Unreadable resources are omitted and reported to `warn`. */
  list(kind: Kind | undefined, warn: (problem: string) => void): Promise<AppliedResource[]>;
  /** Throws NOT_FOUND; CONFIG_INVALID when unreadable. */
  get(kind: Kind, name: string): Promise<AppliedResource>;
  /**
   * Creates or replaces the resource. With a resourceVersion, throws STORE_CONFLICT if it has changed since;
   * with ABSENT, if there is one. Throws CONFIG_INVALID for a change that `checkChange` rejects. If two
   * overlapping pools are applied at once, at most one is created.
   */
  apply(document: Document): Promise<ApplyOutcome>;
  /** Throws NOT_FOUND; IN_USE for a pool used by pods or nodes, unless `force`. */
  delete(kind: Kind, name: string, force?: boolean): Promise<void>;
  /** Returns what a new pool must not overlap. Unreadable nodes and pools are omitted. */
  occupied(): Promise<Occupied>;
}

/** The resourceVersion of what does not exist. */
export const ABSENT = '0';

/** A resource as applied, with its resourceVersion, and its decoded form. */
export type AppliedResource = {
  readonly document: Document;
  readonly resource: Resource;
  /** Another program's, read-only. It counts only as long as there is none of ours of its kind. */
  readonly foreign?: true;
};

export type ApplyOutcome = 'created' | 'configured' | 'unchanged';

/** Returns a pool's usage, for `checkDeletion`. */
export function poolUsage(pool: IpPool, blocks: readonly Block[]): Usage {
  const inPool = blocks.filter((block) => contains(pool.cidr, block.cidr));
  const owners = inPool.flatMap((block) => [...block.allocations.values()]);
  return {
    blocks: inPool.length,
    addresses: owners.filter(({ handle, node }) => handle !== tunnelHandle(node)).length,
  };
}
