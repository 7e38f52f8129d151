import type { Fields } from '../cluster/fields.ts';
import type { Node, Self } from '../cluster/node.ts';
import { type Family, familyOf, type Ip } from '../ip/address.ts';
import { type Cidr, contains } from '../ip/cidr.ts';
import type { Item } from '../state/item.ts';
import { OUR_PROTOCOL } from '../state/ownership.ts';
import type { PeerItems } from './backend.ts';

/** Reads whether peers on the same network get plain routes; flannel's name and Calico's. */
export function readDirectRouting(fields: Fields): boolean {
  return fields.boolean('DirectRouting') ?? fields.boolean('crossSubnet') ?? false;
}

/** A node's subnets of one family. */
export function subnetsOf(node: Node, family: Family): readonly Cidr[] {
  return node.subnets.filter((subnet) => familyOf(subnet) === family);
}

/** Whether the address is on a network of our underlay interface: reachable without a gateway. */
export function isOnLink(self: Self, address: Ip): boolean {
  return self.underlay.onLink.some((network) => contains(network, address));
}

/** Plain routes via a peer on the same network, like `ip route replace SUBNET via PEER dev UNDERLAY`. */
export function directRoutes(self: Self, subnets: readonly Cidr[], via: Ip): Item[] {
  return subnets.map((dst) => ({
    kind: 'route',
    dst,
    type: 'unicast',
    dev: self.underlay.dev,
    via,
    protocol: OUR_PROTOCOL,
  }));
}

/**
 * A peer's items, if it has subnets of the family: `items` from them and its address; without one, a
 * warning.
 */
export function towards(
  node: Node,
  family: Family,
  items: (subnets: readonly Cidr[], address: Ip) => PeerItems,
): PeerItems {
  const subnets = subnetsOf(node, family);
  const address = node.addresses[family];
  if (subnets.length === 0) return { items: [] };
  if (address === undefined) return { items: [], warning: `has no public IPv${family} address` };
  return items(subnets, address);
}

/** The same by a tunnel: plain routes to a peer on the same network, if `directRouting` asks for them. */
export function through(
  self: Self,
  node: Node,
  { directRouting }: { readonly directRouting: boolean },
  family: Family,
  tunnel: (subnets: readonly Cidr[], address: Ip) => PeerItems,
): PeerItems {
  return towards(node, family, (subnets, address) =>
    directRouting && isOnLink(self, address)
      ? { items: directRoutes(self, subnets, address) }
      : tunnel(subnets, address),
  );
}
