import { isOnLink, subnetsOf } from '../../backends/direct.ts';
import { hasFastPath, UDP_DEVICE, type UdpOptions } from '../../backends/udp.ts';
import type { Node, Self } from '../../cluster/node.ts';
import { FAMILIES, type Family, familyOf, type Ip, parseIp } from '../../ip/address.ts';
import { addressOf } from '../../ip/cidr.ts';
import type { FastPathSettings } from './fast-path/fast-path.ts';
import type { UdpSettings } from './settings.ts';

/** What a node's forwarder is to do, from the same facts as its routes. */
export function settingsOf(
  self: Self,
  nodes: readonly Node[],
  { port, directRouting }: UdpOptions,
): UdpSettings {
  const isDirect = (address: Ip): boolean => directRouting && isOnLink(self, address);
  return {
    ...peerSettings(
      nodes.filter(({ name }) => name !== self.node.name),
      isDirect,
    ),
    device: UDP_DEVICE,
    port,
    local: Object.values(self.underlay.addresses),
    router: FAMILIES.flatMap((family) => subnetsOf(self.node, family).slice(0, 1).map(addressOf)),
  };
}

/**
 * What of that the kernel is to do, or why nothing: IPv4 alone, and to peers whose kernels do the same, as
 * sums are left to them.
 */
export function fastPathSettings(
  { routes, senders }: UdpSettings,
  self: Self,
  nodes: readonly Node[],
  { fastPath, port }: UdpOptions,
): FastPathSettings | string {
  const local = self.underlay.addresses[4];
  if (!fastPath) return 'fastPath is false';
  if (local === undefined || subnetsOf(self.node, 4).length === 0) return 'the kernel takes over IPv4 alone';
  const others = new Set(nodes.filter((node) => !hasFastPath(node)).map(({ addresses }) => addresses[4]));
  return {
    device: UDP_DEVICE,
    underlay: self.underlay.dev,
    local,
    port,
    routes: routes
      .filter(({ subnet }) => familyOf(subnet) === 4)
      .map(({ subnet, node }) => ({ subnet, node: others.has(node) ? undefined : node })),
    senders: senders.filter((ip) => familyOf(ip) === 4),
  };
}

/** The same before this node's own addresses are known: from any, to any. */
export function firstSettings(
  families: readonly Family[],
  nodes: readonly Node[],
  { port }: UdpOptions,
): UdpSettings {
  const local = families.map((family) => ANY[family]);
  return { ...peerSettings(nodes, () => false), device: UDP_DEVICE, port, local, router: [] };
}

const ANY: Record<Family, Ip> = { 4: parseIp('0.0.0.0'), 6: parseIp('::') };

function peerSettings(
  peers: readonly Node[],
  isDirect: (address: Ip) => boolean,
): Pick<UdpSettings, 'routes' | 'senders'> {
  const routes = peers.flatMap((node) =>
    FAMILIES.flatMap((family) => {
      const address = node.addresses[family];
      if (address === undefined || isDirect(address)) return [];
      return subnetsOf(node, family).map((subnet) => ({ subnet, node: address }));
    }),
  );
  const senders = peers.flatMap(({ addresses, senders = [] }) => [...Object.values(addresses), ...senders]);
  return { routes, senders: [...new Set(senders)] };
}
