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
 * The addresses of one interface that peers can reach it by, the best first: as the kernel lists them for
 * IPv4; for IPv6 lasting ones before those that will go, and then the oldest, so that another address, as
 * that of a floating service, moves no tunnel.
 */
export function reachableBy(addresses: readonly Address[]): Prefixed[] {
  const usable = addresses.filter(({ address }) => !isLinkLocal(addressOf(address)));
  const v4 = usable.filter(({ address }) => familyOf(address) === 4);
  const v6 = usable.filter(({ address, flags = 0 }) => familyOf(address) === 6 && !(flags & IFA_F_DADFAILED));
  // The kernel puts a new IPv6 address before those it has (ipv6_link_dev_addr).
  const best6 = v6.reverse().sort((a, b) => drawback(a) - drawback(b));
  return [...v4, ...best6].map(({ address }) => address);
}

/**
 * What speaks against an IPv6 address: it may be another node's (RFC 4862 §5.4), goes soon, or goes tomorrow.
 */
function drawback({ flags = 0 }: Address): number {
  if (flags & IFA_F_TENTATIVE) return 3;
  if (flags & IFA_F_DEPRECATED) return 2;
  return flags & IFA_F_TEMPORARY ? 1 : 0;
}
