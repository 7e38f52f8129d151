import type { Network } from '../cluster/network.ts';
import type { Self } from '../cluster/node.ts';
import type { Resources } from '../cluster/resources.ts';
import { type Family, familyOf } from '../ip/address.ts';
import type { Cidr } from '../ip/cidr.ts';

/** Which addresses pods have in one family, as far as masquerading cares. */
export type PodNetworks = {
  /** Of all pods. */
  readonly all: readonly Cidr[];
  /** Of pods that the world outside does not see. */
  readonly hidden: readonly Cidr[];
  /** Of the pods of this node. */
  readonly own: readonly Cidr[];
  /**
   * Whether the answer to what came from outside for a pod of another node must come back through this one.
   */
  readonly returns: boolean;
};

/**
 * Under the lease plan the whole network is hidden unless masquerading is off; a node without a subnet has
 * nothing to hide. Under the block plan the pools with `natOutgoing` are hidden; as BGP may tell the world
 * where each block is, pods see who calls them.
 */
export function podNetworks(
  { addresses, pools, masquerade }: Network,
  resources: Resources,
  { node }: Self,
  family: Family,
): PodNetworks {
  const ours = (cidr: Cidr) => familyOf(cidr) === family;
  const own = node.subnets.filter(ours);
  if (addresses === 'blocks') {
    const known = resources.ipPools.filter(({ cidr }) => ours(cidr));
    const hidden = known.filter(({ natOutgoing }) => natOutgoing);
    return {
      all: known.map(({ cidr }) => cidr),
      hidden: hidden.map(({ cidr }) => cidr),
      own,
      returns: false,
    };
  }
  const network = pools[family]?.cidr;
  const all = network === undefined ? [] : [network];
  return { all, hidden: masquerade.enabled && own.length > 0 ? all : [], own, returns: true };
}
