import type { Occupied, Usage } from '../../cluster/calico/change.ts';
import type { Resource } from '../../cluster/calico/decode.ts';
import type { Document, Kind } from '../../cluster/calico/document.ts';
import type { IpPool } from '../../cluster/resources.ts';
import { contains } from '../../ip/cidr.ts';
import { type Block, tunnelHandle } from './blocks.ts';

/** What people apply: IPPool, BGPPeer and the like. */
export interface ResourceStore {
  /** Those of one kind, or all, by kind and name. What cannot be read is left out, and `warn` hears of it. */
  list(kind: Kind | undefined, warn: (problem: string) => void): Promise<AppliedResource[]>;
  /** Throws NOT_FOUND; CONFIG_INVALID when it cannot be read. */
  get(kind: Kind, name: string): Promise<AppliedResource>;
  /**
   * Creates the resource, or replaces what is there. With a resourceVersion, only if nobody has changed it
   * since: STORE_CONFLICT. Throws CONFIG_INVALID for a change that `checkChange` refuses. Of two pools that
   * overlap and are applied at once, at most one is made.
   */
  apply(document: Document): Promise<ApplyOutcome>;
  /** Throws NOT_FOUND; IN_USE for a pool that pods or nodes use, unless `force`. */
  delete(kind: Kind, name: string, force?: boolean): Promise<void>;
  /** What a new pool must not overlap. Nodes and pools that cannot be read are left out. */
  occupied(): Promise<Occupied>;
}

/** A resource as it was applied, with its resourceVersion, and what it means. */
export type AppliedResource = { readonly document: Document; readonly resource: Resource };

export type ApplyOutcome = 'created' | 'configured' | 'unchanged';

/** What `checkDeletion` must know of a pool. */
export function poolUsage(pool: IpPool, blocks: readonly Block[]): Usage {
  const inPool = blocks.filter((block) => contains(pool.cidr, block.cidr));
  const owners = inPool.flatMap((block) => [...block.allocations.values()]);
  return {
    blocks: inPool.length,
    addresses: owners.filter(({ handle, node }) => handle !== tunnelHandle(node)).length,
  };
}
