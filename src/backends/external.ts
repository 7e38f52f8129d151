import type { Fields } from '../cluster/fields.ts';
import type { Node, Self } from '../cluster/node.ts';
import type { Family } from '../ip/address.ts';
import { addressOf } from '../ip/cidr.ts';
import type { Mac } from '../ip/mac.ts';
import type { Item } from '../state/item.ts';
import type { CreatedLink } from '../state/link-types/registry.ts';
import { OUR_PROTOCOL } from '../state/ownership.ts';
import type { Backend, PeerItems } from './backend.ts';
import { readDirectRouting, subnetsOf, through } from './direct.ts';
import { decapsulated, memberElements, membersTable, type TunnelPackets } from './members.ts';
import { sharedMtu, tunnelPath, tunnelSettings } from './tunnel-device.ts';
import { toVtep } from './vxlan-vtep.ts';

export type ExternalOptions = {
  /** VNI or key. */
  readonly id: number;
  /** UDP, of every node; 0 where the tunnel has no ports. */
  readonly port: number;
  /** The underlay's MTU, if the interface's own cannot be trusted. */
  readonly mtu: number | undefined;
  /** Use plain routes instead of the tunnel for peers on the same network. */
  readonly directRouting: boolean;
  /** Outer checksums for IPv4. */
  readonly checksum: boolean;
  /** Accept packets only from nodes of the cluster. */
  readonly membersOnly: boolean;
};

/** What one of these tunnels does in its own way. */
export type ExternalTunnel = {
  readonly type: string;
  /** What its id is called in the configuration and in a lease. */
  readonly idField: string;
  readonly read: (fields: Fields) => Pick<ExternalOptions, 'id' | 'port'>;
  /** Bytes, of outer IP header, tunnel header and inner Ethernet header. */
  readonly overhead: (options: ExternalOptions, family: Family) => number;
  /** The device that carries a family's packets; it may be the same for both. */
  readonly device: (family: Family) => { readonly name: string; readonly carries: readonly Family[] };
  readonly link: (options: ExternalOptions, family: Family) => CreatedLink;
  readonly packets: (options: ExternalOptions) => TunnelPackets;
  /** Whether packets can have outer checksums: those of UDP. */
  readonly hasChecksums: boolean;
};

/** Of outer packets: GRE would send 0. */
const TTL = 64;

/**
 * One device for all peers, and for each peer a route that carries the tunnel's parameters (a lightweight
 * tunnel) and a neighbour: what Open vSwitch builds, from the kernel alone.
 */
export function externalBackend(tunnel: ExternalTunnel): Backend<ExternalOptions> {
  const { type, idField } = tunnel;
  return {
    type,
    options: (fields) => ({
      ...tunnel.read(fields),
      mtu: fields.integer('MTU', 0, 65535) || undefined,
      directRouting: readDirectRouting(fields),
      checksum: (tunnel.hasChecksums && fields.boolean('checksum')) ?? false,
      membersOnly: fields.boolean('membersOnly') ?? true,
    }),
    overhead: (_self, options, family) => tunnel.overhead(options, family),
    underlayMtu: (options) => options.mtu,
    decapsulates: (options) => decapsulated(tunnel.packets(options)),
    data: (self, options, family) => ({ [idField]: options.id, VtepMAC: macOf(self, tunnel, family) }),
    device: (self, options, family) => device(tunnel, self, options, family),
    member: (_self, node, options, family) =>
      options.membersOnly ? memberElements(node, family, { type }) : [],
    peer: (self, node, options, family) => peer(tunnel, self, node, options, family),
    path: (self, node, options, family) =>
      tunnelPath(self, node, family, {
        directRouting: options.directRouting,
        packets: tunnel.packets(options),
      }),
  };
}

function device(
  tunnel: ExternalTunnel,
  self: Self,
  options: ExternalOptions,
  family: Family,
): readonly Item[] {
  const subnet = subnetsOf(self.node, family)[0];
  if (subnet === undefined || self.underlay.addresses[family] === undefined) return [];
  const { name, carries } = tunnel.device(family);
  const items: Item[] = [
    {
      kind: 'link',
      name,
      link: tunnel.link(options, family),
      up: true,
      mtu: sharedMtu(self, carries, options.mtu, (each) => tunnel.overhead(options, each)),
      mac: macOf(self, tunnel, family),
      alias: `flatnet ${tunnel.type}${carries.length > 1 ? '' : ` IPv${family}`}`,
      entries: 'ours',
    },
    ...tunnelSettings(name, subnet, family),
  ];
  if (options.membersOnly) items.push(membersTable(family, tunnel.packets(options)));
  return items;
}

function peer(
  tunnel: ExternalTunnel,
  self: Self,
  node: Node,
  options: ExternalOptions,
  family: Family,
): PeerItems {
  const src = self.underlay.addresses[family];
  return through(self, node, options, family, (subnets, dst) =>
    toVtep(node, family, { field: tunnel.idField, id: options.id }, (mac) => {
      const dev = tunnel.device(family).name;
      const encapsulation = {
        id: options.id,
        dst,
        ...(src !== undefined && { src }),
        ttl: TTL,
        // Receivers drop IPv6 UDP without a checksum unless told otherwise (RFC 6935).
        ...((options.checksum || (family === 6 && tunnel.hasChecksums)) && { checksum: true }),
      };
      return subnets.flatMap((subnet): Item[] => {
        const via = addressOf(subnet);
        const route = { kind: 'route', dst: subnet, type: 'unicast', encapsulation, dev, via } as const;
        return [
          { kind: 'neighbour', dev, ip: via, mac },
          { ...route, onlink: true, protocol: OUR_PROTOCOL },
        ];
      });
    }),
  );
}

/** A device has one MAC, whichever families it carries. */
function macOf({ tunnelMacs }: Self, tunnel: ExternalTunnel, family: Family): Mac {
  return tunnelMacs[tunnel.device(family).carries[0] ?? family];
}
