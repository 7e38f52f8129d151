import type { Fields } from '../cluster/fields.ts';
import type { Node, Self } from '../cluster/node.ts';
import type { Family, Ip } from '../ip/address.ts';
import { addressOf, type Cidr } from '../ip/cidr.ts';
import type { Mac } from '../ip/mac.ts';
import type { Item } from '../state/item.ts';
import { OUR_PROTOCOL } from '../state/ownership.ts';
import type { Backend, PeerItems } from './backend.ts';
import { readDirectRouting, subnetsOf, through } from './direct.ts';
import { innerMtu } from './inner-mtu.ts';
import { decapsulated, memberElements, membersTable, type TunnelPackets } from './members.ts';
import { tunnelPath, tunnelSettings, underlayWith } from './tunnel-device.ts';
import { resolverOf } from './vxlan-miss.ts';
import { scanLimit } from './vxlan-scan.ts';
import { toVtep, vxlanDevice } from './vxlan-vtep.ts';

export type VxlanOptions = {
  readonly vni: number;
  /** UDP port of every node. */
  readonly port: number;
  /** The underlay's MTU, if the interface's own cannot be trusted. */
  readonly mtu: number | undefined;
  readonly learning: boolean;
  readonly gbp: boolean;
  /** Use plain routes instead of the tunnel for peers on the same network. */
  readonly directRouting: boolean;
  /** Outer UDP checksums for IPv4. Not configured: a new device has none. */
  readonly udpChecksum: boolean | undefined;
  /** Accept packets only from nodes of the cluster. */
  readonly membersOnly: boolean;
  /** Answer the kernel's lookup misses instead of programming every peer in advance. */
  readonly onDemand: boolean;
};

/** flannel's data path: one device per family, and per peer a neighbour, an FDB entry and a route. */
export const vxlan: Backend<VxlanOptions> = {
  type: 'vxlan',
  options: readOptions,
  overhead: (_self, _options, family) => vxlanOverhead(family),
  underlayMtu: (options) => options.mtu,
  decapsulates: (options) => decapsulated(packets(options)),
  // Key order and names are flannel's: it reads this text with string functions.
  data: (self, options, family) => ({ VNI: options.vni, VtepMAC: self.tunnelMacs[family] }),
  device,
  member: (_self, node, options, family) =>
    options.membersOnly ? memberElements(node, family, packets(options)) : [],
  peer,
  path: (self, node, options, family) =>
    tunnelPath(self, node, family, { directRouting: options.directRouting, packets: packets(options) }),
  resolver: (peers, options) => (options.onDemand ? resolverOf(peers, options.vni) : undefined),
};

/** Outer IPv4 (20) or IPv6 (40) header, UDP (8), VXLAN (8), inner Ethernet (14). RFC 7348 §5. */
function vxlanOverhead(family: Family): number {
  return family === 4 ? 50 : 70;
}

function packets({ port }: VxlanOptions): TunnelPackets {
  return { type: 'vxlan', udp: port };
}

function readOptions(fields: Fields): VxlanOptions {
  return {
    vni: fields.integer('VNI', 1, 0xffffff) ?? 1,
    // In flannel, 0 means the kernel's default.
    port: fields.integer('Port', 0, 65535) || 8472,
    mtu: fields.integer('MTU', 0, 65535) || undefined,
    learning: fields.boolean('Learning') ?? false,
    gbp: fields.boolean('GBP') ?? false,
    directRouting: readDirectRouting(fields),
    // Broken checksum offload of NICs and hypervisors drops packets; a zero checksum is valid for IPv4 (RFC
    // 7348 §4.1).
    udpChecksum: fields.boolean('udpChecksum'),
    membersOnly: fields.boolean('membersOnly') ?? true,
    onDemand: fields.boolean('onDemand') ?? false,
  };
}

function device(self: Self, options: VxlanOptions, family: Family, network: Cidr): readonly Item[] {
  const subnet = subnetsOf(self.node, family)[0];
  const local = self.underlay.addresses[family];
  if (subnet === undefined || local === undefined) return [];
  const name = vxlanDevice(options.vni, family);
  // Receivers drop IPv6 UDP without a checksum unless told otherwise (RFC 6935).
  const udpChecksum = family === 6 || options.udpChecksum;
  const mtu = innerMtu(underlayWith(self.underlay, options.mtu), vxlanOverhead(family), family);
  const items: Item[] = [
    {
      kind: 'link',
      name,
      link: {
        type: 'vxlan',
        vni: options.vni,
        port: options.port,
        local,
        dev: self.underlay.dev,
        learning: options.learning,
        gbp: options.gbp,
        ...(udpChecksum !== undefined && { udpChecksum }),
        onDemand: options.onDemand,
      },
      up: true,
      mtu,
      mac: self.tunnelMacs[family],
      alias: `flatnet vxlan IPv${family}`,
      entries: options.onDemand ? 'kernel' : 'ours',
    },
    ...tunnelSettings(name, subnet, family),
  ];
  if (options.membersOnly) items.push(membersTable(family, packets(options)));
  if (options.onDemand) items.push(...onDemandItems(name, network, family));
  return items;
}

/** Routes the whole pod network to the device; the kernel resolves destinations on demand (RTM_GETNEIGH). */
function onDemandItems(name: string, network: Cidr, family: Family): Item[] {
  return [
    scanLimit(name, family),
    { kind: 'route', dst: network, type: 'unicast', dev: name, protocol: OUR_PROTOCOL },
    { kind: 'sysctl', path: `net/ipv${family}/neigh/${name}/app_solicit`, value: '3' },
    // An unused entry may be dropped after a minute.
    { kind: 'sysctl', path: `net/ipv${family}/neigh/${name}/gc_stale_time`, value: '60' },
  ];
}

function peer(self: Self, node: Node, options: VxlanOptions, family: Family): PeerItems {
  return through(self, node, options, family, (subnets, dst) =>
    toVtep(node, family, { field: 'VNI', id: options.vni }, (mac) =>
      options.onDemand ? [] : tunnelItems(vxlanDevice(options.vni, family), subnets, mac, dst),
    ),
  );
}

function tunnelItems(dev: string, subnets: readonly Cidr[], mac: Mac, dst: Ip): Item[] {
  const items: Item[] = [{ kind: 'fdb', dev, mac, dst }];
  for (const subnet of subnets) {
    const via = addressOf(subnet);
    items.push(
      { kind: 'neighbour', dev, ip: via, mac },
      { kind: 'route', dst: subnet, type: 'unicast', dev, via, onlink: true, protocol: OUR_PROTOCOL },
    );
  }
  return items;
}
