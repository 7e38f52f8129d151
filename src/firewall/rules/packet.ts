import { type Family, familyOf, type Ip, ipToBytes } from '../../ip/address.ts';
import { interfaceField } from '../../linux/nftables/values/field.ts';

/** Values that rules set on a packet and later ones read. */
export type Writing = 'mark' | 'ct mark' | 'tracking';

/** The first TCP packet of a connection, being forwarded. */
export type Packet = {
  readonly source: Ip;
  readonly target: Ip;
  /** Interface names. */
  readonly from: string;
  readonly to: string;
  /** Values that some rule has set, or may have; the values themselves are not tracked. */
  readonly written: Set<Writing>;
};

// linux/netfilter/nf_tables.h: keys that a rule may read from a packet.
const NFT_META_PROTOCOL = 1;
const NFT_META_MARK = 3;
const NFT_META_IIFNAME = 6;
const NFT_META_OIFNAME = 7;
const NFT_META_NFPROTO = 15;
const NFT_META_L4PROTO = 16;
const NFT_CT_STATE = 0;
const NFT_CT_STATUS = 2;
const NFT_CT_MARK = 3;

const NFPROTO: Readonly<Record<Family, number>> = { 4: 2, 6: 10 };
const ETH_P: Readonly<Record<Family, number>> = { 4: 0x0800, 6: 0x86dd };
const IPPROTO_TCP = 6;
/** The bit of a new connection: nf_conntrack_common.h, NF_CT_STATE_BIT(IP_CT_NEW). */
export const CT_STATE_NEW = 8;

/** Returns what `meta` loads; like the functions below, undefined if unknown. */
export function metaOf(packet: Packet, key: number): Buffer | undefined {
  const family = familyOf(packet.source);
  switch (key) {
    case NFT_META_PROTOCOL:
      return Buffer.of(ETH_P[family] >> 8, ETH_P[family] & 0xff);
    case NFT_META_MARK:
      return packet.written.has('mark') ? undefined : hostU32(0);
    case NFT_META_IIFNAME:
      return Buffer.from(interfaceField(packet.from));
    case NFT_META_OIFNAME:
      return Buffer.from(interfaceField(packet.to));
    case NFT_META_NFPROTO:
      return Buffer.of(NFPROTO[family]);
    case NFT_META_L4PROTO:
      return Buffer.of(IPPROTO_TCP);
    default:
      return undefined;
  }
}

/** Returns what `ct` loads for the first packet of a connection. */
export function conntrackOf({ written }: Packet, key: number): Buffer | undefined {
  if (written.has('tracking')) return undefined;
  switch (key) {
    case NFT_CT_STATE:
      return hostU32(CT_STATE_NEW);
    case NFT_CT_STATUS:
      return hostU32(0);
    case NFT_CT_MARK:
      return written.has('ct mark') ? undefined : hostU32(0);
    default:
      return undefined;
  }
}

/** Records what a `meta` statement sets. */
export function metaSet(packet: Packet, key: number): void {
  if (key === NFT_META_MARK) packet.written.add('mark');
}

/** Records what a `ct` statement sets. */
export function conntrackSet(packet: Packet, key: number): void {
  if (key === NFT_CT_MARK) packet.written.add('ct mark');
}

/** Returns what `payload` loads from the network header, of which protocol and addresses are known. */
export function headerOf({ source, target }: Packet, offset: number, length: number): Buffer | undefined {
  const family = familyOf(source);
  const [size, protocolAt, addressesAt] = family === 4 ? [20, 9, 12] : [40, 6, 8];
  const isProtocol = offset === protocolAt && length === 1;
  const isAddress = offset >= addressesAt && offset + length <= size;
  if (!isProtocol && !isAddress) return undefined;
  const bytes = Buffer.alloc(size);
  bytes[protocolAt] = IPPROTO_TCP;
  bytes.set(ipToBytes(source), addressesAt);
  bytes.set(ipToBytes(target), (addressesAt + size) / 2);
  return bytes.subarray(offset, offset + length);
}

/** Encodes a mark or a conntrack value, which rules compare in host byte order. */
function hostU32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}
