import type { HostPort } from '../../cluster/host-port.ts';
import type { LocalPod, Underlay } from '../../cluster/node.ts';
import type { Ip } from '../../ip/address.ts';
import type { Cidr, Prefixed } from '../../ip/cidr.ts';
import type { Mac } from '../../ip/mac.ts';

/**
 * What flannel and the reference plugins have left on a node, and how far flatnet is there. Read, not judged.
 */
export type Found = {
  /** Our agent; absent if none answers. */
  readonly agent?: FoundAgent;
  /** Processes of flanneld in this network namespace. */
  readonly flanneld: readonly number[];
  /** This node's subnets as flannel's plugin knows them. */
  readonly subnets: readonly Cidr[];
  /** Devices that flannel's backends make. */
  readonly devices: readonly FoundDevice[];
  /** The pods' bridge and its addresses. */
  readonly bridge?: { readonly name: string; readonly addresses: readonly Prefixed[] };
  /** The runtime's configurations, in the order in which it reads them. */
  readonly confs: readonly FoundConf[];
  readonly reservations: readonly FoundReservation[];
  /** The folder with those of our network. */
  readonly ourReservations: string;
  /** What the runtime remembers of its calls. */
  readonly results: readonly FoundResult[];
  /** The names of its files for all networks, also those of others: `NETWORK-CONTAINER-INTERFACE`. */
  readonly resultFiles: readonly string[];
  /** Pods of which flannel's plugin keeps a file, by container. */
  readonly scratch: readonly string[];
  readonly ports: readonly FoundPort[];
  readonly rules: readonly FoundRules[];
  /** What could not be read, with the reason. */
  readonly unread: readonly string[];
};

export type FoundAgent = {
  /** Why it takes no pods; absent if it does. */
  readonly notReady?: string;
  readonly subnets: readonly Cidr[];
  readonly backend?: string;
  /** The interface that leads to other nodes. */
  readonly underlay?: Pick<Underlay, 'dev' | 'addresses'>;
  /** Those that have records. */
  readonly pods: readonly Pick<LocalPod, 'containerId' | 'hostPorts'>[];
};

export type FoundDevice = {
  readonly name: string;
  /** `vxlan`, `ipip`, `wireguard`, `tun` … */
  readonly kind: string;
  readonly mac?: Mac;
  readonly vni?: number;
  readonly port?: number;
};

export type FoundConf = {
  /** Path. */
  readonly file: string;
  /** The network's name. */
  readonly name: string;
  /** The types of its plugins, in order. */
  readonly types: readonly string[];
  /** Flannel's: the plugin that it delegates to, and its bridge. */
  readonly delegate?: { readonly type: string; readonly bridge: string };
  /** Why it cannot be read. */
  readonly problem?: string;
};

/** An address that host-local's files reserve. */
export type FoundReservation = {
  readonly dir: string;
  readonly ip: Ip;
  /** Empty if the file does not say. */
  readonly containerId: string;
  readonly ifName: string;
  /** Whether it is so new that its ADD may still run. */
  readonly isNew: boolean;
};

/** libcni's file of one ADD. */
export type FoundResult = {
  readonly containerId: string;
  readonly ifName: string;
  /** The node's end of the veth. */
  readonly hostDevice?: string;
  /** Of the pod's end. */
  readonly mac?: Mac;
  readonly namespace?: string;
  readonly podName?: string;
  readonly hostPorts: readonly HostPort[];
  /** Whether the pod has a bandwidth. */
  readonly isLimited: boolean;
};

/** A veth that is a port of the bridge. */
export type FoundPort = {
  readonly name: string;
  /** Bytes. */
  readonly mtu: number;
  readonly hairpin: boolean;
  /** Whether flatnet has a record of its pod. */
  readonly isOurs: boolean;
  /** The pod's end, if its namespace is in sight. */
  readonly inside?: {
    readonly netns: string;
    readonly netnsId: number;
    readonly ifName: string;
    readonly mac: Mac;
    readonly addresses: readonly Ip[];
  };
};

/** Rules of flannel's, or of the plugin portmap for flannel's pods, in one table. */
export type FoundRules = {
  readonly family: 'ip' | 'ip6' | 'inet';
  readonly table: string;
  /** Absent: the whole table. */
  readonly chains?: readonly string[];
  /** The number of rules elsewhere that lead there. */
  readonly leads: number;
  /** The number of rules within. */
  readonly size: number;
  /** portmap's, for this container. */
  readonly container?: string;
  /** Only the rules in the chains that have this comment. */
  readonly comment?: string;
  /** Why pods would be cut off without them, or may be. */
  readonly needed?: string;
};
