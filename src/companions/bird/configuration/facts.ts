import type { TunnelFacts } from '../../../backends/bgp-tunnel.ts';
import type { Node, Self } from '../../../cluster/node.ts';
import type { IpPool, Resources, SecretRef } from '../../../cluster/resources.ts';
import type { Ip } from '../../../ip/address.ts';
import type { Cidr } from '../../../ip/cidr.ts';

/** Inputs of this node's BGP configuration. The same facts give the same configuration, byte for byte. */
export type BgpFacts = {
  readonly self: Self<TunnelFacts>;
  /** All nodes of the cluster; this one may be among them. */
  readonly nodes: readonly Node[];
  /**
   * The networks that pods get their addresses from, of both families: the IPPools, or the pools of a
   * leased network.
   */
  readonly pools: readonly BgpPool[];
  readonly resources: Resources;
  /** Routes of the host's that BIRD cannot learn itself: see `gatewaysOf`. */
  readonly gateways?: readonly Gateway[];
  /** By `secretKey`; read by `readSecrets`. */
  readonly secrets: ReadonlyMap<string, string>;
};

/** A route over gateways that none of the device's networks contains. */
export type Gateway = {
  readonly dst: Cidr;
  readonly hops: readonly { readonly via: Ip; readonly dev: string }[];
};

export type BgpPool = Pick<IpPool, 'cidr' | 'ipipMode' | 'disableBgpExport'>;

export function secretKey({ name, key }: SecretRef): string {
  return `${name}/${key}`;
}
