import type { PerFamily } from '../../cluster/node.ts';
import { FlatnetError } from '../../error.ts';
import { FAMILIES, type Family, type Ip } from '../../ip/address.ts';
import { type Cidr, lengthOf, nthIp, type Prefixed, parseCidr, prefixed } from '../../ip/cidr.ts';

/** The networks reserved for the underlay of a lab; no pod network may overlap them. */
export const UNDERLAY: readonly Cidr[] = [parseCidr('172.30.0.0/16'), parseCidr('fd77::/48')];

/** An address behind the router that is neither a node's nor a pod's: pods reach it masqueraded. */
export const OUTSIDE: PerFamily<Ip> = {
  4: nthIp(parseCidr('172.30.255.0/24'), 1),
  6: nthIp(parseCidr('fd77:0:0:ff::/64'), 1),
};

/** The networks between the top-of-rack routers. */
const SPINE: Readonly<Record<Family, Cidr>> = {
  4: parseCidr('172.30.254.0/24'),
  6: parseCidr('fd77:0:0:fe::/64'),
};

export const MAX_NODES = 200;
export const MAX_SUBNETS = 16;

const LENGTH: Record<Family, number> = { 4: 24, 6: 64 };

/**
 * The network of the only underlay subnet where pods share it: wider, so that it has room for theirs, but
 * without OUTSIDE.
 */
export const SHARED: Record<Family, Cidr> = { 4: parseCidr('172.30.0.0/17'), 6: parseCidr('fd77::/64') };
/** The length of a node's share, of which the first is for nodes and routers. */
export const SHARE_LENGTH: Record<Family, number> = { 4: 24, 6: 80 };
/**
 * node1 is 172.30.0.11 and fd77::11: the number is easy to recognize, and low addresses are left for routers.
 */
const FIRST_NODE = 10;

/** The network of an underlay subnet; subnets are numbered from 0. */
export function underlaySubnet(subnet: number, family: Family): Cidr {
  return parseCidr(family === 4 ? `172.30.${subnet}.0/24` : `fd77:0:0:${subnet.toString(16)}::/64`);
}

/** The router's address in a subnet: the default gateway of its nodes. */
export function gateway(subnet: number, family: Family): Ip {
  return nthIp(underlaySubnet(subnet, family), 1);
}

/**
 * The addresses of the node with number `index`; nodes are numbered from 1. `isShared`: pods are beside them.
 */
export function nodeAddresses(index: number, subnet: number, isShared = false): Record<Family, Prefixed> {
  const host = FIRST_NODE + index;
  return {
    4: prefixed(nthIp(underlaySubnet(subnet, 4), host), lengthOn(isShared, 4)),
    // Decimal digits, interpreted as hexadecimal.
    6: prefixed(nthIp(underlaySubnet(subnet, 6), Number(`0x${host}`)), lengthOn(isShared, 6)),
  };
}

export function routerAddresses(subnet: number, isShared = false): Prefixed[] {
  return FAMILIES.map((family) => prefixed(gateway(subnet, family), lengthOn(isShared, family)));
}

function lengthOn(isShared: boolean, family: Family): number {
  return isShared ? lengthOf(SHARED[family]) : LENGTH[family];
}

/** The top-of-rack router's address towards its nodes. */
export function torAddress(subnet: number, family: Family): Ip {
  return nthIp(underlaySubnet(subnet, family), 2);
}

/** The same router's address towards the other routers. */
export function spineAddress(subnet: number, family: Family): Ip {
  return nthIp(SPINE[family], subnet + 1);
}

/** The router's addresses by interface: `eth0` towards the nodes, `eth1` towards the other routers. */
export function torAddresses(subnet: number): { readonly eth0: Prefixed[]; readonly eth1: Prefixed[] } {
  return {
    eth0: FAMILIES.map((family) => prefixed(torAddress(subnet, family), LENGTH[family])),
    eth1: FAMILIES.map((family) => prefixed(spineAddress(subnet, family), LENGTH[family])),
  };
}

/** Nodes are assigned to the subnets in turn. */
export function subnetOfNode(index: number, subnets: number): number {
  return (index - 1) % subnets;
}

/** Returns the lowest number that no node has. */
export function freeIndex(taken: readonly number[]): number {
  for (let index = 1; index <= MAX_NODES; index++) if (!taken.includes(index)) return index;
  throw new FlatnetError(`a lab has at most ${MAX_NODES} nodes`, {
    code: 'USAGE',
    operation: 'node add',
    fix: 'delete a node first',
  });
}
