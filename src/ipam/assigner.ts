import type { Family, Ip } from '../ip/address.ts';
import type { Cidr } from '../ip/cidr.ts';

/**
 * Hands out addresses from blocks that nodes claim as they need them (`blocks`), where host-local hands them
 * out from a node's subnet.
 */
export interface Assigner {
  /**
   * One address a family for the handle; the same ones whenever asked again. Throws OUT_OF_ADDRESSES,
   * ADDRESS_TAKEN (a requested address), CONFIG_INVALID (a requested address or pool that does not exist),
   * STORE_CONFLICT; then nothing is held. After STORE_UNAVAILABLE the handle may hold addresses, as only the
   * answer may have been lost: release it, or ask again.
   */
  assign(request: AssignRequest, signal?: AbortSignal): Promise<readonly Assigned[]>;
  /**
   * Frees whatever the handle holds, which may be nothing. Rejects when `signal` aborts before its turn.
   */
  release(handle: string, signal?: AbortSignal): Promise<readonly Ip[]>;
  /** What the handle holds. */
  held(handle: string): Promise<readonly Assigned[]>;
}

export type AssignRequest = {
  /** Names the owner for ever: `k8s-pod-network.<containerID>.<ifname>`. */
  readonly handle: string;
  readonly families: readonly Family[];
  /** For people, and for garbage collection. */
  readonly attributes: { readonly pod?: string; readonly namespace?: string; readonly type?: string };
  /** Addresses asked for by annotation or runtime, at most one a family; a family without one gets any. */
  readonly requested?: readonly Ip[];
  /** Only these pools, by name or CIDR: the pod's or its namespace's annotation. */
  readonly pools?: readonly string[];
  /** For pools with a namespaceSelector. */
  readonly namespaceLabels?: Readonly<Record<string, string>>;
};

export type Assigned = {
  readonly ip: Ip;
  readonly block: Cidr;
  readonly pool: string;
  /** The block is another node's: the address needs a route of its own everywhere. */
  readonly borrowed: boolean;
};
