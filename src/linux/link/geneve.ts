import { familyOf, type Ip, ipToBytes } from '../../ip/address.ts';
import type { Attributes, Writer } from '../netlink/message.ts';
import { endpointOf, type LinkKind } from './kind.ts';

const IFLA_GENEVE_ID = 1;
const IFLA_GENEVE_REMOTE = 2;
const IFLA_GENEVE_PORT = 5;
const IFLA_GENEVE_COLLECT_METADATA = 6;
const IFLA_GENEVE_REMOTE6 = 7;
const IFLA_GENEVE_UDP_ZERO_CSUM6_RX = 10;

/**
 * A tunnel device (RFC 8926): like `type geneve id VNI remote IP dstport PORT`, or `type geneve external`.
 */
export type Geneve = {
  readonly kind: 'geneve';
  /** The VNI, 24 bits. Not with `collectMetadata`. */
  readonly id?: number | undefined;
  /** Not with `collectMetadata`. */
  readonly remote?: Ip | undefined;
  /** UDP, host order. Default: 6081. */
  readonly port?: number | undefined;
  /**
   * Tunnel parameters come with each packet (lightweight tunnels). There can be one such device per port, and
   * none beside one with a VNI (EBUSY).
   */
  readonly collectMetadata?: boolean | undefined;
  /** Accept packets over IPv6 without a UDP checksum. Default in the kernel: no, but with metadata yes. */
  readonly udp6ZeroChecksumRx?: boolean | undefined;
};

export const geneve: LinkKind<Geneve> = { kind: 'geneve', write, read };

function write(writer: Writer, { id, remote, port, collectMetadata, udp6ZeroChecksumRx }: Geneve): void {
  writer
    .u32(IFLA_GENEVE_ID, id)
    .bytes(
      remote && familyOf(remote) === 6 ? IFLA_GENEVE_REMOTE6 : IFLA_GENEVE_REMOTE,
      remote && ipToBytes(remote),
    )
    .be16(IFLA_GENEVE_PORT, port)
    .flag(IFLA_GENEVE_COLLECT_METADATA, collectMetadata)
    .bool(IFLA_GENEVE_UDP_ZERO_CSUM6_RX, udp6ZeroChecksumRx);
}

function read(attributes: Attributes): Geneve {
  return {
    kind: 'geneve',
    id: attributes.get(IFLA_GENEVE_ID)?.readUInt32LE(),
    remote: endpointOf(attributes, IFLA_GENEVE_REMOTE, IFLA_GENEVE_REMOTE6),
    port: attributes.get(IFLA_GENEVE_PORT)?.readUInt16BE(),
    collectMetadata: attributes.has(IFLA_GENEVE_COLLECT_METADATA),
    udp6ZeroChecksumRx: (attributes.get(IFLA_GENEVE_UDP_ZERO_CSUM6_RX)?.readUInt8() ?? 0) !== 0,
  };
}
