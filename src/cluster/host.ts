import type { Ip } from '../ip/address.ts';
import type { Cidr } from '../ip/cidr.ts';
import type { Mac } from '../ip/mac.ts';

/** What a node's host uses apart from the pod network. */
export type Host = {
  /** Of its interfaces. */
  readonly addresses: readonly Ip[];
  readonly networks: readonly HostNetwork[];
  /**
   * Those of the addresses that are Services': kube-proxy in IPVS mode makes them the host's. Absent: none.
   */
  readonly services?: readonly Ip[];
  /** Of its routes, that to everywhere included. */
  readonly gateways?: readonly Ip[];
  /** Those that pods might share: not the pods' own, nor loopback. Absent: not known. */
  readonly interfaces?: readonly HostInterface[];
};

/** An interface of the host. */
export type HostInterface = {
  readonly name: string;
  /** Bytes. */
  readonly mtu: number;
  /** Absent: it is not Ethernet. */
  readonly mac?: Mac;
  /** The bridge or bond that it is a part of. */
  readonly master?: string;
  /** Of an ipvlan device: what it shares, and in which mode. */
  readonly ipvlan?: { readonly parent: string; readonly mode: string };
};

/** A network to which the host sends packets by itself. */
export type HostNetwork = {
  readonly cidr: Cidr;
  /** For people: `the network of eth0`. */
  readonly use: string;
  /** What an interface is connected to; otherwise a route leads there. */
  readonly isConnected: boolean;
  /** Connected by a bridge: another plugin may keep this node's own pods there. */
  readonly isBridge?: boolean;
  /** The gateway of a route that nobody signs (protocol boot): flannel's routes to other nodes look alike. */
  readonly unsignedVia?: Ip;
};

export const NO_HOST: Host = { addresses: [], networks: [] };
