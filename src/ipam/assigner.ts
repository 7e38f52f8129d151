import type { Family, Ip } from '../ip/address.ts';
import type { Cidr } from '../ip/cidr.ts';

/**
 * Assigns addresses from blocks that nodes claim on demand (the `blocks` plan), as opposed to host-local,
 * which assigns them from a node's fixed subnet.
 */
export interface Assigner {
  /**
   * Assigns the handle one address per family. Idempotent: repeated calls return the same addresses. Throws
   * OUT_OF_ADDRESSES, ADDRESS_TAKEN (a requested address), CONFIG_INVALID (a requested address or pool that
   * does not exist) or STORE_CONFLICT; the handle then holds nothing. After STORE_UNAVAILABLE the handle may
   * hold addresses, since only the reply may have been lost: release it or retry.
   */
  assign(request: AssignRequest, signal?: AbortSignal): Promise<readonly Assigned[]>;
  /** Frees everything the handle holds, if anything. Rejects when `signal` aborts while queued. */
  release(handle: string, signal?: AbortSignal): Promise<readonly Ip[]>;
  /** Returns the addresses the handle holds. */
  held(handle: string): Promise<readonly Assigned[]>;
}

export type AssignRequest = {
  /** Permanent ID of the owner: `k8s-pod-network.<containerID>.<ifname>`. */
  readonly handle: string;
  readonly families: readonly Family[];
  /** For display and garbage collection. */
  readonly attributes: { readonly pod?: string; readonly namespace?: string; readonly type?: string };
  /** Addresses requested by annotation or runtime, at most one per family; other families get any address. */
  readonly requested?: readonly Ip[];
  /** Restricts the choice to these pools, by name or CIDR: the pod's or its namespace's annotation. */
  readonly pools?: readonly string[];
  /** For pools with a namespaceSelector. */
  readonly namespaceLabels?: Readonly<Record<string, string>>;
};

export type Assigned = {
  readonly ip: Ip;
  readonly block: Cidr;
  readonly pool: string;
  /** The block belongs to another node, so every node needs a host route to the address. */
  readonly borrowed: boolean;
};
