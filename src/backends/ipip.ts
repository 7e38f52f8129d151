import type { Fields } from '../cluster/fields.ts';
import type { Node, Self } from '../cluster/node.ts';
import type { Family } from '../ip/address.ts';
import type { Item } from '../state/item.ts';
import type { Backend, PeerItems } from './backend.ts';
import { readDirectRouting, subnetsOf, through } from './direct.ts';
import { innerMtu } from './inner-mtu.ts';
import { memberElements, membersTable, type TunnelPackets } from './members.ts';
import { tunnelPath, tunnelSettings } from './tunnel-device.ts';
import { tunnelRoute } from './tunnel-route.ts';

export type IpipOptions = {
  /** Use plain routes instead of the tunnel for peers on the same network. */
  readonly directRouting: boolean;
  /** Accept packets only from nodes of the cluster. */
  readonly membersOnly: boolean;
};

/** IPv4 in IPv4 (RFC 2003) and IPv6 in IPv6 (RFC 2473): their numbers among IP protocols. */
const PROTOCOLS: Record<Family, number> = { 4: 4, 6: 41 };
const DEVICES: Record<Family, string> = { 4: 'flannel.ipip', 6: 'flannel-v6.ipip' };

/**
 * flannel's IPIP: the bare packet behind a second IP header. A device has no fixed remote end: each route
 * names one. IPv6 goes in IPv6, which flannel lacks.
 */
export const ipip: Backend<IpipOptions> = {
  type: 'ipip',
  options: (fields: Fields) => ({
    directRouting: readDirectRouting(fields),
    membersOnly: fields.boolean('membersOnly') ?? true,
  }),
  overhead: (_self, _options, family) => overhead(family),
  decapsulates: () => ({ protocols: [PROTOCOLS[4], PROTOCOLS[6]] }),
  data: () => undefined,
  device,
  member: (_self, node, { membersOnly }, family) =>
    membersOnly ? memberElements(node, family, packets(family)) : [],
  peer,
  path: (self, node, options, family) =>
    tunnelPath(self, node, family, { directRouting: options.directRouting, packets: packets(family) }),
};

/** Of the outer header. */
function overhead(family: Family): number {
  return family === 4 ? 20 : 40;
}

function packets(family: Family): TunnelPackets {
  return { type: 'ipip', protocol: PROTOCOLS[family] };
}

function device(self: Self, { membersOnly }: IpipOptions, family: Family): readonly Item[] {
  const subnet = subnetsOf(self.node, family)[0];
  const local = self.underlay.addresses[family];
  if (subnet === undefined || local === undefined) return [];
  const name = DEVICES[family];
  const items: Item[] = [
    {
      kind: 'link',
      name,
      link: family === 4 ? { type: 'ipip', local } : { type: 'ip6tnl' },
      up: true,
      mtu: innerMtu(self.underlay, overhead(family), family),
      alias: `flatnet ipip IPv${family}`,
      entries: 'kernel',
    },
    ...tunnelSettings(name, subnet, family),
  ];
  if (membersOnly) items.push(membersTable(family, packets(family)));
  return items;
}

function peer(self: Self, node: Node, options: IpipOptions, family: Family): PeerItems {
  return through(self, node, options, family, (subnets, via) => ({
    items: subnets.map((dst) => tunnelRoute(self, dst, DEVICES[family], via)),
  }));
}
