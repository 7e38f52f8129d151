import { familyOf, type Ip, ipToBytes } from '../../ip/address.ts';
import type { Attributes, Writer } from '../netlink/message.ts';
import { endpointOf, type LinkKind } from './kind.ts';

const IFLA_VXLAN_ID = 1;
const IFLA_VXLAN_GROUP = 2;
const IFLA_VXLAN_LINK = 3;
const IFLA_VXLAN_LOCAL = 4;
const IFLA_VXLAN_TTL = 5;
const IFLA_VXLAN_LEARNING = 7;
const IFLA_VXLAN_AGEING = 8;
const IFLA_VXLAN_PROXY = 11;
const IFLA_VXLAN_L2MISS = 13;
const IFLA_VXLAN_L3MISS = 14;
const IFLA_VXLAN_PORT = 15;
const IFLA_VXLAN_GROUP6 = 16;
const IFLA_VXLAN_LOCAL6 = 17;
const IFLA_VXLAN_UDP_CSUM = 18;
const IFLA_VXLAN_UDP_ZERO_CSUM6_TX = 19;
const IFLA_VXLAN_UDP_ZERO_CSUM6_RX = 20;
const IFLA_VXLAN_GBP = 23;
const IFLA_VXLAN_COLLECT_METADATA = 25;

/**
 * A tunnel device (RFC 7348): like `type vxlan id VNI local IP dev DEV dstport PORT nolearning …`. After
 * creation only local, group, dev, ttl, learning and ageing can change; the kernel rejects a message with any
 * other attribute (except the same id), even with its current value.
 */
export type Vxlan = {
  readonly kind: 'vxlan';
  /** The VNI, 24 bits. Not with `collectMetadata`. */
  readonly id?: number | undefined;
  /** Source of the tunnel packets. */
  readonly local?: Ip | undefined;
  /** Multicast group, or default destination, for addresses without an FDB entry. */
  readonly group?: Ip | undefined;
  /** Interface index of the underlay. */
  readonly dev?: number | undefined;
  /** UDP, host order. The kernel's default is 8472, not IANA's 4789. */
  readonly port?: number | undefined;
  readonly ttl?: number | undefined;
  /** Learn FDB entries from packets. Default in the kernel: yes. */
  readonly learning?: boolean | undefined;
  /** Lifetime of a learnt entry in seconds. */
  readonly ageing?: number | undefined;
  /** Answer ARP and neighbour solicitations from the neighbour table. */
  readonly proxy?: boolean | undefined;
  /** Notify listeners of frames to addresses without an FDB entry. */
  readonly l2miss?: boolean | undefined;
  /**
   * Notify listeners of unanswered ARP requests; requires `proxy`. Covers only requests from a bridge: for
   * the machine's own lookups, set the sysctl net/ipv4/neigh/DEV/app_solicit.
   */
  readonly l3miss?: boolean | undefined;
  /** Compute UDP checksums over IPv4. Default in the kernel: yes. */
  readonly udpChecksum?: boolean | undefined;
  readonly udp6ZeroChecksumTx?: boolean | undefined;
  readonly udp6ZeroChecksumRx?: boolean | undefined;
  /** Group-based policy extension in the header. */
  readonly gbp?: boolean | undefined;
  /** Tunnel parameters come with each packet (lightweight tunnels). */
  readonly collectMetadata?: boolean | undefined;
};

export const vxlan: LinkKind<Vxlan> = { kind: 'vxlan', write, read };

function write(writer: Writer, vxlan: Vxlan): void {
  const { local, group, gbp, collectMetadata } = vxlan;
  writer
    .u32(IFLA_VXLAN_ID, vxlan.id)
    .bytes(local && familyOf(local) === 6 ? IFLA_VXLAN_LOCAL6 : IFLA_VXLAN_LOCAL, local && ipToBytes(local))
    .bytes(group && familyOf(group) === 6 ? IFLA_VXLAN_GROUP6 : IFLA_VXLAN_GROUP, group && ipToBytes(group))
    .u32(IFLA_VXLAN_LINK, vxlan.dev)
    .be16(IFLA_VXLAN_PORT, vxlan.port)
    .u8(IFLA_VXLAN_TTL, vxlan.ttl)
    .bool(IFLA_VXLAN_LEARNING, vxlan.learning)
    .u32(IFLA_VXLAN_AGEING, vxlan.ageing)
    .bool(IFLA_VXLAN_PROXY, vxlan.proxy)
    .bool(IFLA_VXLAN_L2MISS, vxlan.l2miss)
    .bool(IFLA_VXLAN_L3MISS, vxlan.l3miss)
    .bool(IFLA_VXLAN_UDP_CSUM, vxlan.udpChecksum)
    .bool(IFLA_VXLAN_UDP_ZERO_CSUM6_TX, vxlan.udp6ZeroChecksumTx)
    .bool(IFLA_VXLAN_UDP_ZERO_CSUM6_RX, vxlan.udp6ZeroChecksumRx)
    .flag(IFLA_VXLAN_GBP, gbp)
    .bool(IFLA_VXLAN_COLLECT_METADATA, collectMetadata || undefined);
}

function read(attributes: Attributes): Vxlan {
  const bool = (type: number): boolean => (attributes.get(type)?.readUInt8() ?? 0) !== 0;
  return {
    kind: 'vxlan',
    id: attributes.get(IFLA_VXLAN_ID)?.readUInt32LE(),
    local: endpointOf(attributes, IFLA_VXLAN_LOCAL, IFLA_VXLAN_LOCAL6),
    group: endpointOf(attributes, IFLA_VXLAN_GROUP, IFLA_VXLAN_GROUP6),
    dev: attributes.get(IFLA_VXLAN_LINK)?.readUInt32LE() || undefined,
    port: attributes.get(IFLA_VXLAN_PORT)?.readUInt16BE(),
    ttl: attributes.get(IFLA_VXLAN_TTL)?.readUInt8(),
    learning: bool(IFLA_VXLAN_LEARNING),
    ageing: attributes.get(IFLA_VXLAN_AGEING)?.readUInt32LE(),
    proxy: bool(IFLA_VXLAN_PROXY),
    l2miss: bool(IFLA_VXLAN_L2MISS),
    l3miss: bool(IFLA_VXLAN_L3MISS),
    udpChecksum: bool(IFLA_VXLAN_UDP_CSUM),
    udp6ZeroChecksumTx: bool(IFLA_VXLAN_UDP_ZERO_CSUM6_TX),
    udp6ZeroChecksumRx: bool(IFLA_VXLAN_UDP_ZERO_CSUM6_RX),
    gbp: attributes.has(IFLA_VXLAN_GBP),
    collectMetadata: bool(IFLA_VXLAN_COLLECT_METADATA),
  };
}
