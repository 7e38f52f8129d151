import type { Node, Self } from '../cluster/node.ts';
import type { Family } from '../ip/address.ts';
import type { Item } from '../state/item.ts';
import type { Backend, PeerItems } from './backend.ts';
import { readDirectRouting, subnetsOf, through } from './direct.ts';
import { decapsulated, memberElements, membersTable, type TunnelPackets } from './members.ts';
import { sharedMtu, tunnelPath, tunnelSettings } from './tunnel-device.ts';
import { tunnelRoute } from './tunnel-route.ts';
import { publishedField } from './vxlan-vtep.ts';

export type UdpOptions = {
  /** UDP, of every node. */
  readonly port: number;
  /** The underlay's MTU, if the interface's own cannot be trusted. */
  readonly mtu: number | undefined;
  /** Use plain routes instead of the tunnel for peers on the same network. */
  readonly directRouting: boolean;
  /** Accept packets only from nodes of the cluster. */
  readonly membersOnly: boolean;
  /** Let the kernel carry ordinary packets, by programs for its virtual machine. */
  readonly fastPath: boolean;
};

/** What its companion publishes. */
export type UdpFacts = {
  /** Whether this node's kernel unpacks datagrams itself, with the sums that the sender's has left to it. */
  readonly fastPath: boolean;
};

const FAST_PATH = 'FastPath';

/** flannel's name. */
export const UDP_DEVICE = 'flannel0';

/**
 * The first of flannel's backends: packets leave through a TUN device to a program, which puts each into a
 * UDP datagram. For kernels and networks without anything better. The program is the companion's.
 */
export const udp: Backend<UdpOptions, UdpFacts> = {
  type: 'udp',
  // flannel's nodes with this backend publish no name.
  alsoNamed: [''],
  options: (fields) => ({
    port: fields.integer('Port', 0, 65535) || 8285,
    mtu: fields.integer('MTU', 0, 65535) || undefined,
    directRouting: readDirectRouting(fields),
    membersOnly: fields.boolean('membersOnly') ?? true,
    fastPath: fields.boolean('fastPath') ?? true,
  }),
  overhead: (_self, _options, family) => overhead(family),
  underlayMtu: (options) => options.mtu,
  decapsulates: (options) => decapsulated(packets(options)),
  // flannel's nodes, which publish nothing, read nothing either.
  data: ({ companion }, _options, family) =>
    family === 4 && companion?.fastPath ? { [FAST_PATH]: true } : undefined,
  device,
  member: (_self, node, options, family) =>
    options.membersOnly ? memberElements(node, family, packets(options)) : [],
  peer,
  path: (self, node, options, family) =>
    tunnelPath(self, node, family, { directRouting: options.directRouting, packets: packets(options) }),
};

/** Whether a peer's kernel unpacks datagrams itself. */
export function hasFastPath({ backend }: Node): boolean {
  return publishedField(backend.data[4], FAST_PATH) === true;
}

/** Of the outer IP and UDP headers. */
function overhead(family: Family): number {
  return family === 4 ? 28 : 48;
}

function packets({ port }: UdpOptions): TunnelPackets {
  return { type: 'udp', udp: port };
}

function device(self: Self, options: UdpOptions, family: Family): readonly Item[] {
  const subnet = subnetsOf(self.node, family)[0];
  if (subnet === undefined || self.underlay.addresses[family] === undefined) return [];
  const items: Item[] = [
    {
      kind: 'link',
      name: UDP_DEVICE,
      link: { type: 'tun' },
      up: true,
      mtu: sharedMtu(self, [4, 6], options.mtu, overhead),
      alias: 'flatnet udp',
      entries: 'kernel',
    },
    ...tunnelSettings(UDP_DEVICE, subnet, family),
  ];
  if (options.membersOnly) items.push(membersTable(family, packets(options)));
  return items;
}

/** The program has the same facts: the remote end in a route only shows where the packets go. */
function peer(self: Self, node: Node, options: UdpOptions, family: Family): PeerItems {
  return through(self, node, options, family, (subnets, via) => ({
    items: subnets.map((dst) => tunnelRoute(self, dst, UDP_DEVICE, via)),
  }));
}
