import type { TunnelFacts } from '../../../backends/ipip.ts';
import type { Node, Self } from '../../../cluster/node.ts';
import type { IpPool, Resources, SecretRef } from '../../../cluster/resources.ts';

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
  /** By `secretKey`; read by `readSecrets`. */
  readonly secrets: ReadonlyMap<string, string>;
};

export type BgpPool = Pick<IpPool, 'cidr' | 'ipipMode' | 'disableBgpExport'>;

export function secretKey({ name, key }: SecretRef): string {
  return `${name}/${key}`;
}
