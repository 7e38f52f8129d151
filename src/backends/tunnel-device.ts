import type { Node, Self, Underlay } from '../cluster/node.ts';
import type { Family } from '../ip/address.ts';
import { addressOf, type Cidr, prefixed } from '../ip/cidr.ts';
import { deviceItems } from '../state/device-settings.ts';
import type { Item } from '../state/item.ts';
import type { Path } from './backend.ts';
import { isOnLink, subnetsOf } from './direct.ts';
import { innerMtu } from './inner-mtu.ts';
import type { TunnelPackets } from './members.ts';

/**
 * What every tunnel device of a leased network has besides itself: the first address of the node's subnet,
 * and settings.
 */
export function tunnelSettings(dev: string, subnet: Cidr, family: Family): readonly Item[] {
  const items: Item[] = [
    { kind: 'address', dev, address: prefixed(addressOf(subnet), family === 4 ? 32 : 128) },
    ...deviceItems(dev, [family]),
  ];
  if (family === 4) {
    // A peer may reply over a different path (it routes directly, we tunnel): loose reverse path filter, RFC
    // 3704.
    items.push({ kind: 'sysctl', path: `net/ipv4/conf/${dev}/rp_filter`, value: '2' });
  }
  return items;
}

/**
 * The path to a peer whose device has such settings, which flannel's have too: it answers at the first
 * address of its subnet, whichever way packets take there.
 */
export function tunnelPath(
  self: Self,
  peer: Node,
  family: Family,
  { directRouting, packets }: { readonly directRouting: boolean; readonly packets: TunnelPackets },
): Path | undefined {
  const [subnet] = subnetsOf(peer, family);
  const node = peer.addresses[family];
  if (subnet === undefined || node === undefined) return undefined;
  const isDirect = directRouting && isOnLink(self, node);
  const tunnel = 'udp' in packets ? { udp: packets.udp } : { protocol: packets.protocol };
  return { carrier: isDirect ? 'routes' : tunnel, target: addressOf(subnet) };
}

/**
 * The MTU, in bytes, of a device that carries several families: there is room for the larger header of those
 * that the node has. `mtu`: the underlay's, if configured.
 */
export function sharedMtu(
  { node, underlay }: Self,
  carries: readonly Family[],
  mtu: number | undefined,
  overhead: (family: Family) => number,
): number {
  const used = carries.filter((family) => subnetsOf(node, family).length > 0);
  return Math.min(...used.map((family) => innerMtu(underlayWith(underlay, mtu), overhead(family), family)));
}

/** The underlay as far as MTUs go; a configured MTU overrides what was measured. */
export function underlayWith(underlay: Underlay, mtu: number | undefined): Pick<Underlay, 'mtu' | 'pathMtu'> {
  return mtu === undefined ? underlay : { mtu };
}
