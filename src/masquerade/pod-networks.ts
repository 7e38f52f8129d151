import type { Network } from '../cluster/network.ts';
import type { Self } from '../cluster/node.ts';
import type { Resources } from '../cluster/resources.ts';
import { type Family, familyOf } from '../ip/address.ts';
import type { Cidr } from '../ip/cidr.ts';

/** What addresses the pods of one family have, as far as masquerading asks. */
export type PodNetworks = {
  /** Of all pods. */
  readonly all: readonly Cidr[];
  /** Of those the world outside does not see. */
  readonly hidden: readonly Cidr[];
  /** Of the pods of this node. */
  readonly own: readonly Cidr[];
  /** Whether what comes from outside for a pod of another node must be answered by way of this one. */
  readonly returns: boolean;
};

/**
 * Under the plan of leases the whole network is hidden, unless masquerading is switched off; a node without a subnet has nothing to
 * hide. Under the plan of blocks the pools with `natOutgoing` are hidden, and since the world outside may know by BGP where each block
 * is, pods see who calls them.
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
