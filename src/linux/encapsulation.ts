import { familyOf, type Ip, ipFromBytes, ipToBytes } from '../ip/address.ts';
import { type Attributes, attributesOf, type Writer } from './netlink/message.ts';

const RTA_ENCAP_TYPE = 21;
const RTA_ENCAP = 22;
/** linux/lwtunnel.h; the attributes of both types have the same numbers. */
const LWTUNNEL_ENCAP_IP = 2;
const LWTUNNEL_ENCAP_IP6 = 4;
const LWTUNNEL_IP_ID = 1;
const LWTUNNEL_IP_DST = 2;
const LWTUNNEL_IP_SRC = 3;
const LWTUNNEL_IP_TTL = 4;
const LWTUNNEL_IP_FLAGS = 6;
const TUNNEL_CSUM = 0x01;
const TUNNEL_KEY = 0x04;

/**
 * A lightweight tunnel: what a route tells a device that takes its tunnel parameters from each packet
 * (`external`), like `encap ip id ID src IP dst IP ttl TTL csum`. The family of `dst` is that of the outer
 * packet, not necessarily the route's.
 */
export type Encapsulation = {
  /** VNI or key; 0 for a GRE tunnel without a key. */
  readonly id: number;
  readonly dst: Ip;
  /** Default: the source address of the route to `dst`. */
  readonly src?: Ip | undefined;
  /** Of the outer packet. Default: the kernel's; GRE would send 0. */
  readonly ttl?: number | undefined;
  /** Outer checksums. Without them, UDP over IPv6 is dropped unless the receiver permits it (RFC 6935). */
  readonly checksum?: boolean | undefined;
};

export function writeEncapsulation(writer: Writer, encapsulation: Encapsulation | undefined): void {
  if (!encapsulation) return;
  const { id, dst, src, ttl, checksum } = encapsulation;
  writer
    .u16(RTA_ENCAP_TYPE, familyOf(dst) === 4 ? LWTUNNEL_ENCAP_IP : LWTUNNEL_ENCAP_IP6)
    .nested(RTA_ENCAP, (inner) =>
      inner
        .be64(LWTUNNEL_IP_ID, BigInt(id))
        .bytes(LWTUNNEL_IP_DST, ipToBytes(dst))
        .bytes(LWTUNNEL_IP_SRC, src && ipToBytes(src))
        .u8(LWTUNNEL_IP_TTL, ttl)
        .be16(LWTUNNEL_IP_FLAGS, (id === 0 ? 0 : TUNNEL_KEY) | (checksum ? TUNNEL_CSUM : 0)),
    );
}

/** Undefined for a route that encapsulates nothing, or in another way (MPLS, SRv6). */
export function readEncapsulation(attributes: Attributes): Encapsulation | undefined {
  const type = attributes.get(RTA_ENCAP_TYPE)?.readUInt16LE();
  const content = attributes.get(RTA_ENCAP);
  if (!content || (type !== LWTUNNEL_ENCAP_IP && type !== LWTUNNEL_ENCAP_IP6)) return undefined;
  const inner = attributesOf(content);
  const [dst, src] = [inner.get(LWTUNNEL_IP_DST), inner.get(LWTUNNEL_IP_SRC)];
  if (!dst) return undefined;
  return {
    id: Number(inner.get(LWTUNNEL_IP_ID)?.readBigUInt64BE() ?? 0n),
    dst: ipFromBytes(dst),
    src: src?.some((byte) => byte !== 0) ? ipFromBytes(src) : undefined,
    ttl: inner.get(LWTUNNEL_IP_TTL)?.readUInt8() || undefined,
    checksum: ((inner.get(LWTUNNEL_IP_FLAGS)?.readUInt16BE() ?? 0) & TUNNEL_CSUM) !== 0 || undefined,
  };
}

/** Formats it like `ip route`: `encap ip id 1 src 10.0.0.1 dst 10.0.0.2 ttl 64 csum`. */
export function encapsulationText({ id, dst, src, ttl, checksum }: Encapsulation): string {
  const words = [`encap ${familyOf(dst) === 4 ? 'ip' : 'ip6'} id ${id}`];
  if (src !== undefined) words.push(`src ${src}`);
  words.push(`dst ${dst}`);
  if (ttl !== undefined) words.push(`${familyOf(dst) === 4 ? 'ttl' : 'hoplimit'} ${ttl}`);
  if (id !== 0) words.push('key');
  if (checksum) words.push('csum');
  return words.join(' ');
}
