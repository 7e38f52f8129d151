import type { Ip } from '../../ip/address.ts';
import type { Prefixed } from '../../ip/cidr.ts';
import type { Invocation } from '../protocol/invocation.ts';
import type { Dns, RouteConfig } from '../protocol/result.ts';
import type { Attachment, AttachmentKey } from '../records/attachment.ts';
import type { CniState } from '../state.ts';

/** Where a pod's addresses come from: ranges on this node, or blocks of the whole cluster. */
export interface AddressSource {
  /** What the attachment's record says about the source, before the first address is taken. */
  heldBy(key: AttachmentKey): Pick<Attachment, 'dir' | 'handle'>;
  /**
   * Takes one address of each range set, or of each family. All or nothing. Throws OUT_OF_ADDRESSES,
   * ADDRESS_TAKEN, CONFIG_INVALID for a request that can't be met, and what the store throws.
   */
  take(call: Invocation, state: CniState): Promise<Addresses>;
  /** Ranges without a free address, as text; undefined while an ADD would find one. */
  exhausted(state: CniState): string | undefined;
}

/** What an attachment was given. */
export type Addresses = {
  readonly ips: readonly PodAddress[];
  /** Addresses from other nodes' blocks. */
  readonly borrowed: readonly Ip[];
  /** What the `ipam` configuration adds to the result. */
  readonly routes: readonly RouteConfig[];
  readonly dns: Dns;
};

export type PodAddress = {
  /** With the length of its subnet. An address from a block belongs to none and has that of a host. */
  readonly address: Prefixed;
  /** Absent for an address that belongs to no subnet. */
  readonly gateway?: Ip;
};

export const NO_ADDRESSES: Addresses = { ips: [], borrowed: [], routes: [], dns: {} };
