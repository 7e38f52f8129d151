import type { Network } from '../cluster/network.ts';
import type { LocalPod } from '../cluster/node.ts';
import { familyOf } from '../ip/address.ts';
import { type Cidr, contains } from '../ip/cidr.ts';
import type { Item } from '../state/item.ts';
import { elementItem, elementOf } from '../state/kinds/nft-element.ts';
import { STRAYS, tableOf } from './table.ts';

/**
 * A pod's addresses of subnets that this node no longer holds, as elements of the table: other nodes send the
 * answers to the subnet's new holder or nowhere, so what the pod sends must carry an address of this node.
 * `held`: the node's subnets. None without masquerading.
 */
export function strayItems(
  { addresses, masquerade }: Pick<Network, 'addresses' | 'masquerade'>,
  held: readonly Cidr[],
  pod: LocalPod,
): Item[] {
  if (addresses !== 'lease' || !masquerade.enabled || pod.foreign) return [];
  return pod.addresses
    .filter((ip) => {
      // Without a subnet of its own in the family, the node has no table.
      const own = held.filter((cidr) => familyOf(cidr) === familyOf(ip));
      return own.length > 0 && !own.some((cidr) => contains(cidr, ip));
    })
    .map((ip) => elementItem(tableOf(familyOf(ip)), elementOf(STRAYS[familyOf(ip)], [ip])));
}
