import { BITS, familyOf, type Ip, isLinkLocal, unmapped } from '../ip/address.ts';
import { type Cidr, contains, lengthOf, parseCidr } from '../ip/cidr.ts';
import type { Network } from './network.ts';

/**
 * Why a subnet can't be a node's; undefined if it can. By flannel's rules, a network holds at least four
 * subnets, and a subnet four addresses. Its length may differ from SubnetLen, which can be changed while
 * nodes have subnets. Anything goes in a family that the network does not have: it is not used.
 */
export function unlawfulSubnet({ pools }: Pick<Network, 'pools'>, cidr: Cidr): string | undefined {
  const family = familyOf(cidr);
  const pool = pools[family]?.cidr;
  if (pool === undefined) return undefined;
  if (!contains(pool, cidr)) {
    return contains(cidr, pool)
      ? `${cidr} is more than the network, ${pool}`
      : `${cidr} is outside the network, ${pool}`;
  }
  const [shortest, longest] = [lengthOf(pool) + 2, BITS[family] - 2];
  if (lengthOf(cidr) < shortest) return `${cidr} is too large for a node: at most a /${shortest} of ${pool}`;
  if (lengthOf(cidr) > longest) return `${cidr} is too small for a node: at least a /${longest}`;
  return undefined;
}

const SPECIAL: readonly (readonly [what: string, cidr: Cidr])[] = [
  ['unspecified', parseCidr('0.0.0.0/8')],
  ['a loopback address', parseCidr('127.0.0.0/8')],
  ['a multicast address', parseCidr('224.0.0.0/4')],
  ['reserved', parseCidr('240.0.0.0/4')],
  ['unspecified', parseCidr('::/128')],
  ['a loopback address', parseCidr('::1/128')],
  ['a multicast address', parseCidr('ff00::/8')],
];

/** Why no node can be reached at an address, wherever it is; undefined if one may. RFC 6890, RFC 4291. */
export function unfitAddress(ip: Ip): string | undefined {
  const [what] = SPECIAL.find(([, cidr]) => contains(cidr, ip)) ?? [];
  if (what !== undefined) return `${ip} is ${what}`;
  // A node's IPv4 link-local address may be its only one; an IPv6 one means nothing without an interface.
  if (familyOf(ip) === 6 && isLinkLocal(ip)) return `${ip} is a link-local address`;
  if (unmapped(ip) !== ip) return `${ip} is an IPv4 address`;
  return undefined;
}
