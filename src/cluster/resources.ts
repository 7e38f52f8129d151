import type { Ip } from '../ip/address.ts';
import type { Cidr } from '../ip/cidr.ts';

/**
 * The Calico resources that configure a network, decoded and with defaults filled in: IPPool, IPReservation,
 * BGPConfiguration, BGPPeer, BGPFilter and the `bgp` part of Node, all of `projectcalico.org/v3`.
 */
export type Resources = {
  readonly ipPools: readonly IpPool[];
  readonly ipReservations: readonly IpReservation[];
  readonly bgpConfiguration: BgpConfiguration;
  readonly bgpPeers: readonly BgpPeer[];
  readonly bgpFilters: readonly BgpFilter[];
  /** By node name; a node without the resource is absent. */
  readonly nodes: Readonly<Record<string, NodeBgp>>;
};

export type Encapsulation = 'Never' | 'Always' | 'CrossSubnet';

export type IpPool = {
  readonly name: string;
  readonly cidr: Cidr;
  /** Prefix length of a block: 20–32 (default 26), IPv6 116–128 (default 122). */
  readonly blockSize: number;
  readonly ipipMode: Encapsulation;
  readonly natOutgoing: boolean;
  /** Whether it assigns no new addresses. */
  readonly disabled: boolean;
  readonly disableBgpExport: boolean;
  /** Selector over node labels: the nodes that may claim its blocks. */
  readonly nodeSelector: string;
  /** Selector over a namespace's labels; absent: all. */
  readonly namespaceSelector?: string;
  /** `Manual`: only for pods that name the pool. */
  readonly assignmentMode: 'Automatic' | 'Manual';
};

export type IpReservation = { readonly name: string; readonly cidrs: readonly Cidr[] };

export type BgpConfiguration = {
  readonly nodeToNodeMeshEnabled: boolean;
  readonly asNumber: number;
  /** TCP port BIRD listens on. */
  readonly listenPort: number;
  /** Networks advertised in addition to the pods' blocks. */
  readonly serviceCidrs: readonly Cidr[];
  /** Communities by name. */
  readonly communities: Readonly<Record<string, Community>>;
  readonly prefixAdvertisements: readonly {
    readonly cidr: Cidr;
    readonly communities: readonly Community[];
  }[];
  /** Name of the secret, and key in it. Its value is in a file: see `companions/bird/secrets.ts`. */
  readonly nodeMeshPassword?: SecretRef;
  /** Seconds; BIRD's `graceful restart time`. */
  readonly nodeMeshMaxRestartTime?: number;
  /** Interfaces, as BIRD patterns, whose networks BIRD must not treat as directly connected. */
  readonly ignoredInterfaces: readonly string[];
};

/** `65000:100`, or large `65000:1:2`, as BIRD's tuple members. */
export type Community = readonly [number, number] | readonly [number, number, number];

export type SecretRef = { readonly name: string; readonly key: string };

export type BgpPeer = {
  readonly name: string;
  /** The nodes that have this peer: one by name, or several by selector; with neither, all. */
  readonly node?: string;
  readonly nodeSelector?: string;
  /** The other end: an address outside the cluster (with its AS), or cluster nodes by selector. */
  readonly peerIp?: Ip;
  readonly port?: number;
  readonly asNumber?: number;
  readonly peerSelector?: string;
  /** The local AS number to use with it instead of our own. */
  readonly localAsNumber?: number;
  readonly nextHopMode: 'Auto' | 'Self' | 'Keep';
  readonly password?: SecretRef;
  readonly sourceAddress: 'UseNodeIP' | 'None';
  readonly maxRestartTime?: number;
  readonly keepaliveTime?: number;
  readonly numAllowedLocalAsNumbers?: number;
  readonly ttlSecurity?: number;
  /** Use BFD to detect a dead peer in under a second. A flatnet extension. */
  readonly bfd: boolean;
  /** BGPFilters by name, applied in this order before the cluster's own import and export rules. */
  readonly filters: readonly string[];
};

export type BgpFilter = {
  readonly name: string;
  readonly exportV4: readonly FilterRule[];
  readonly importV4: readonly FilterRule[];
  readonly exportV6: readonly FilterRule[];
  readonly importV6: readonly FilterRule[];
};

export type FilterRule = {
  readonly action: 'Accept' | 'Reject';
  readonly cidr?: Cidr;
  readonly matchOperator?: 'Equal' | 'NotEqual' | 'In' | 'NotIn';
  /** Bounds of the route's prefix length, inclusive. */
  readonly prefixLength?: { readonly min?: number; readonly max?: number };
  readonly source?: 'RemotePeers';
  readonly interface?: string;
};

export type NodeBgp = {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly asNumber?: number;
  /** Makes the node a route reflector: an IPv4 address by form. */
  readonly routeReflectorClusterId?: Ip;
};

/** The defaults without a BGPConfiguration. */
export const DEFAULT_BGP_CONFIGURATION: BgpConfiguration = {
  nodeToNodeMeshEnabled: true,
  asNumber: 64512,
  listenPort: 179,
  serviceCidrs: [],
  communities: {},
  prefixAdvertisements: [],
  ignoredInterfaces: [],
};

/** The defaults without any resources. */
export const NO_RESOURCES: Resources = {
  ipPools: [],
  ipReservations: [],
  bgpConfiguration: DEFAULT_BGP_CONFIGURATION,
  bgpPeers: [],
  bgpFilters: [],
  nodes: {},
};
