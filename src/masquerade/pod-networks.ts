import type { Network } from '../cluster/network.ts';
import type { Self } from '../cluster/node.ts';
import type { Resources } from '../cluster/resources.ts';
import { type Family, familyOf } from '../ip/address.ts';
import type { Cidr } from '../ip/cidr.ts';

/** The pods' networks of one family, for masquerading. */
export type PodNetworks = {
  /** The networks of all pods. */
  readonly all: readonly Cidr[];
  /** The networks hidden from outside the pod network. */
  readonly hidden: readonly Cidr[];
  /** This node's own subnets. */
  readonly own: readonly Cidr[];
  /** Whether replies to outside traffic for a pod of another node must return through this node. */
  readonly returns: boolean;
};

/**
 * Returns the pods' networks. With leases, the whole network is hidden unless masquerading is off; a node
 * without a subnet has nothing to hide. With blocks, the pools with `natOutgoing` are hidden; since BGP may
 * announce each block to the outside, pods see the addresses of outside clients.
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
