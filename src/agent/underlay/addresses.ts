import { familyOf, isLinkLocal } from '../../ip/address.ts';
import { addressOf, type Prefixed } from '../../ip/cidr.ts';
import {
  type Address,
  IFA_F_DADFAILED,
  IFA_F_DEPRECATED,
  IFA_F_TEMPORARY,
  IFA_F_TENTATIVE,
} from '../../linux/address.ts';

/**
 * Returns the addresses at which peers can reach one interface, best first: IPv4 in the kernel's order; IPv6
 * with permanent before temporary ones, then oldest first, so that an address added later, such as a floating
 * service address, does not move a tunnel.
 */
export function reachableBy(addresses: readonly Address[]): Prefixed[] {
  const usable = addresses.filter(({ address }) => !isLinkLocal(addressOf(address)));
  const v4 = usable.filter(({ address }) => familyOf(address) === 4);
  const v6 = usable.filter(({ address, flags = 0 }) => familyOf(address) === 6 && !(flags & IFA_F_DADFAILED));
  // The kernel lists new IPv6 addresses before existing ones (ipv6_link_dev_addr).
  const best6 = v6.reverse().sort((a, b) => rank(a) - rank(b));
  return [...v4, ...best6].map(({ address }) => address);
}

/**
 * Ranks an IPv6 address, lower is better: a duplicate may exist (RFC 4862 §5.4), or it will expire sooner or
 * later.
 */
function rank({ flags = 0 }: Address): number {
  if (flags & IFA_F_TENTATIVE) return 3;
  if (flags & IFA_F_DEPRECATED) return 2;
  return flags & IFA_F_TEMPORARY ? 1 : 0;
}
