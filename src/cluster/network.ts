import type { Ip } from '../ip/address.ts';
import type { Cidr } from '../ip/cidr.ts';
import type { PerFamily } from './node.ts';

/** The configuration of the pod network, the same on every node. Read by `readNetwork` from net-conf.json or YAML. */
export type Network = {
  /** At least one family is present. */
  readonly pools: PerFamily<Pool>;
  readonly backend: {
    /** Lower case. Absent in the file means `vxlan` (flannel's source says udp, its documentation vxlan). */
    readonly type: string;
    /** As written; the backend of that type reads it, keys matched without case. */
    readonly options: Readonly<Record<string, unknown>>;
  };
  readonly masquerade: {
    readonly enabled: boolean;
    /** Choose source ports at random (`NF_NAT_RANGE_PROTO_RANDOM_FULLY`): avoids the conntrack insertion race. */
    readonly randomFully: boolean;
    /** Destinations that always see the pod's own address. */
    readonly exclude: readonly Cidr[];
  };
};

/** Where node subnets are cut from. */
export type Pool = {
  readonly cidr: Cidr;
  /** Length of a node's subnet. */
  readonly subnetLength: number;
  /** The first and last subnet given out, by network address. */
  readonly subnetMin: Ip;
  readonly subnetMax: Ip;
};
