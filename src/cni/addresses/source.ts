import type { Ip } from '../../ip/address.ts';
import type { Prefixed } from '../../ip/cidr.ts';
import type { Invocation } from '../protocol/invocation.ts';
import type { Dns, RouteConfig } from '../protocol/result.ts';
import type { Attachment, AttachmentKey } from '../records/attachment.ts';
import type { CniState } from '../state.ts';

/** The source of a pod's addresses: this node's ranges, the cluster's blocks, or a DHCP server. */
export interface AddressSource {
  /** The fields describing the source in the attachment's record, written before an address is taken. */
  heldBy(key: AttachmentKey): Pick<Attachment, 'dir' | 'handle' | 'dhcp'>;
  /**
   * Takes one address from each range set, or of each family. All or nothing. Throws OUT_OF_ADDRESSES,
   * ADDRESS_TAKEN, CONFIG_INVALID for an unsatisfiable request, and the store's errors.
   */
  take(call: Invocation, state: CniState): Promise<Addresses>;
}

/** The addresses of an attachment, and what else its `ipam` configuration provides. */
export type Addresses = {
  readonly ips: readonly PodAddress[];
  /** Addresses that need an announcement of their own: from other nodes' blocks, or alone in their block. */
  readonly borrowed: readonly Ip[];
  /** Routes the `ipam` configuration adds to the result. */
  readonly routes: readonly RouteConfig[];
  readonly dns: Dns;
};

export type PodAddress = {
  /** With its subnet's prefix length. An address from a block has no subnet and a host prefix length. */
  readonly address: Prefixed;
  /** Absent for an address without a subnet. */
  readonly gateway?: Ip;
};

export const NO_ADDRESSES: Addresses = { ips: [], borrowed: [], routes: [], dns: {} };
