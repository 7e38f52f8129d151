import type { Ip } from '../ip/address.ts';
import type { Cidr, Prefixed } from '../ip/cidr.ts';
import type { Mac } from '../ip/mac.ts';

/**
 * One thing the kernel should hold, as plain data. Devices are named, never numbered, so that an item means the same
 * before its device exists. Two items with the same `keyOf` are the same slot; equal items need no work.
 */
export type Item =
  | LinkItem
  | AddressItem
  | RouteItem
  | NeighbourItem
  | FdbItem
  | RuleItem
  | SysctlItem
  | NftTableItem;

/** Properties of a link that are `undefined` are left as the kernel has them. */
export type LinkItem = {
  readonly kind: 'link';
  readonly name: string;
  /** `existing`: a link made elsewhere (a pod's veth, the underlay) whose settings we keep; never created or deleted by us. */
  readonly link: MadeLink | ExistingLink;
  readonly up: boolean;
  /** Bytes. */
  readonly mtu?: number;
  readonly mac?: Mac;
  /** Marks a link as made by us: begins with `flatnet`. Such a link is removed when nobody wants it any more. */
  readonly alias?: string;
  /** The bridge it is a port of. */
  readonly master?: string;
  /** Bridge port: may send a frame back out of the port it came from (a pod reaching itself through a service). */
  readonly hairpin?: boolean;
  /**
   * Who writes the neighbour and FDB entries on it. `ours`: any entry we do not want is removed (tunnel devices).
   * `kernel`: they are left alone (a bridge, where the kernel learns).
   */
  readonly entries: 'ours' | 'kernel';
};

/** The kinds of link we make. A tunnel names the underlay device it sits on `dev`. */
export type MadeLink = BridgeLink | VxlanLink | IpipLink;
export type BridgeLink = { readonly type: 'bridge' };
export type ExistingLink = { readonly type: 'existing' };
export type VxlanLink = {
  readonly type: 'vxlan';
  readonly vni: number;
  /** UDP, host order. */
  readonly port: number;
  readonly local: Ip;
  /** The underlay device. */
  readonly dev: string;
  readonly learning: boolean;
  readonly gbp: boolean;
  /** Whether outer UDP checksums are computed (IPv4 only; IPv6 always has them). */
  readonly udpChecksum: boolean;
  /** Ask user space for unknown neighbours and FDB entries (`proxy l2miss l3miss`). */
  readonly onDemand: boolean;
};

/**
 * IPv4 in IPv4. Without ends it is `tunl0`, which the kernel's module brings along: it can be set up and down, but neither be made nor
 * deleted, and the gateway of each route is the other end.
 */
export type IpipLink = { readonly type: 'ipip'; readonly local?: Ip; readonly remote?: Ip };

export type AddressItem = {
  readonly kind: 'address';
  readonly dev: string;
  readonly address: Prefixed;
};

export type RouteItem = {
  readonly kind: 'route';
  readonly dst: Cidr;
  readonly type: 'unicast' | 'blackhole';
  readonly dev?: string;
  readonly via?: Ip;
  /** The gateway is taken to be on the link although no network there holds it. */
  readonly onlink?: boolean;
  readonly src?: Ip;
  /** Default: 0 for IPv4, 1024 for IPv6 (the kernel's own default). */
  readonly metric?: number;
  /** Default: 254, main. */
  readonly table?: number;
  /** Who owns the route: `OUR_PROTOCOL` or another. */
  readonly protocol: number;
};

export type NeighbourItem = {
  readonly kind: 'neighbour';
  readonly dev: string;
  readonly ip: Ip;
  readonly mac: Mac;
};

/** An entry of a vxlan device's own table: frames to `mac` go in UDP to `dst`. */
export type FdbItem = {
  readonly kind: 'fdb';
  readonly dev: string;
  readonly mac: Mac;
  readonly dst: Ip;
};

export type RuleItem = {
  readonly kind: 'rule';
  readonly family: 4 | 6;
  readonly priority: number;
  readonly table: number;
  readonly from?: Cidr;
  readonly to?: Cidr;
  readonly iif?: string;
  readonly mark?: number;
  readonly mask?: number;
  readonly protocol: number;
};

export type SysctlItem = {
  readonly kind: 'sysctl';
  /** Below /proc/sys, with slashes: `net/ipv4/ip_forward`, `net/ipv6/conf/cni0/accept_dad`. */
  readonly path: string;
  readonly value: string;
  /** Written only where the kernel holds this value now; any other value is somebody's choice and stays. */
  readonly when?: string;
};

/** A whole table, replaced in one transaction. */
export type NftTableItem = {
  readonly kind: 'nft';
  readonly family: 'ip' | 'ip6' | 'inet';
  readonly table: string;
  /** What stands between the braces of `table FAMILY NAME { … }`, in nft's own syntax. */
  readonly body: string;
  /**
   * What the sets hold that `body` declares without elements: a change of these alone leaves the rest of the table as it is.
   * Addresses of the set's own family.
   */
  readonly sets?: Readonly<Record<string, readonly Ip[]>>;
};

/** What the kernel should hold, or holds: items by `keyOf`. */
export type KernelState = ReadonlyMap<string, Item>;
