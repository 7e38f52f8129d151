import type { Self } from '../cluster/node.ts';
import { familyOf, type Ip } from '../ip/address.ts';
import type { Cidr } from '../ip/cidr.ts';
import type { Item } from '../state/item.ts';
import { OUR_PROTOCOL } from '../state/ownership.ts';

/** Of outer packets. */
const TTL = 64;

/**
 * The route to a peer's subnet through a device that needs no neighbour, with the peer as remote end. For
 * IPv4 it is the gateway, as flannel has it. IPv6 refuses a gateway to which another device leads
 * (ip6_route_check_nh_onlink): there the route carries the remote end.
 */
export function tunnelRoute(self: Self, dst: Cidr, dev: string, node: Ip): Item {
  const route = { kind: 'route', dst, type: 'unicast', dev, protocol: OUR_PROTOCOL } as const;
  if (familyOf(node) === 4) return { ...route, via: node, onlink: true };
  const src = self.underlay.addresses[6];
  return { ...route, encapsulation: { id: 0, dst: node, ...(src !== undefined && { src }), ttl: TTL } };
}
