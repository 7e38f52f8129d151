import { type Family, familyOf, type Ip, ipFromBytes, ipToBytes } from '../ip/address.ts';

/** RFC 792 and RFC 4443. */
export const ECHO_REPLY = { 4: 0, 6: 129 } as const;
export const ECHO_REQUEST = { 4: 8, 6: 128 } as const;
export const UNREACHABLE = { 4: 3, 6: 1 } as const;
export const TIME_EXCEEDED = { 4: 11, 6: 3 } as const;
/** IPv6 only; IPv4 uses a code of UNREACHABLE. */
export const PACKET_TOO_BIG = 2;
/** IPv6 only, where it also says that nothing takes a protocol; IPv4 uses a code of UNREACHABLE. */
export const PARAMETER_PROBLEM = 4;
const UNKNOWN_NEXT_HEADER = 1;
const FRAGMENTATION_NEEDED = 4;

const ICMP = 1;
const ICMPV6 = 58;
const HOPS = 64;
const DONT_FRAGMENT = 0x4000;
const ICMP_HEADER = 8;
const IPV6_HEADER = 40;

/** A message received on a raw socket. */
export type IcmpMessage = Echo<'request'> | Echo<'reply'> | IcmpError;

export type Echo<Type> = {
  readonly type: Type;
  readonly from: Ip;
  readonly id: number;
  readonly sequence: number;
  /** Bytes after the ICMP header. */
  readonly size: number;
};

/** A host on the path could not forward one of our packets, or its destination could not take it. */
export type IcmpError = {
  /** IPv4 calls an unknown protocol unreachable. */
  readonly type: 'unreachable' | 'too-big' | 'time-exceeded' | 'unknown-protocol';
  /** The reporting host. */
  readonly from: Ip;
  readonly code: number;
  /** MTU of the bottleneck link in bytes, for `too-big`. */
  readonly mtu: number | undefined;
  /** Destination of our packet; if it was an echo request, its id and sequence follow. */
  readonly to: Ip;
  readonly id: number | undefined;
  readonly sequence: number | undefined;
  /** The protocol of our packet, and the destination port if that is UDP. */
  readonly protocol: number;
  readonly port: number | undefined;
};

const UDP = 17;

/** Encodes an echo request. For IPv6, the kernel computes the checksum, as it knows the addresses. */
export function encodeEcho(family: Family, id: number, sequence: number, size: number): Buffer {
  const packet = Buffer.alloc(ICMP_HEADER + size);
  packet[0] = ECHO_REQUEST[family];
  packet.writeUInt16BE(id, 4);
  packet.writeUInt16BE(sequence, 6);
  for (let i = ICMP_HEADER; i < packet.length; i++) packet[i] = i & 0xff;
  if (family === 4) packet.writeUInt16BE(checksum(packet), 2);
  return packet;
}

/** A whole IP packet with an echo request, for those who send it themselves. */
export function encodeEchoPacket(from: Ip, to: Ip, id: number, sequence: number, size: number): Buffer {
  const family = familyOf(from);
  const echo = encodeEcho(family, id, sequence, size);
  const [source, target] = [ipToBytes(from), ipToBytes(to)];
  if (family === 4) {
    const header = Buffer.alloc(20);
    header[0] = 0x45;
    header.writeUInt16BE(header.length + echo.length, 2);
    header.writeUInt16BE(DONT_FRAGMENT, 6);
    header[8] = HOPS;
    header[9] = ICMP;
    header.set(source, 12);
    header.set(target, 16);
    header.writeUInt16BE(checksum(header), 10);
    return Buffer.concat([header, echo]);
  }
  const header = Buffer.alloc(IPV6_HEADER);
  header[0] = 0x60;
  header.writeUInt16BE(echo.length, 4);
  header[6] = ICMPV6;
  header[7] = HOPS;
  header.set(source, 8);
  header.set(target, 24);
  // RFC 8200 §8.1: the addresses, the length and the protocol count.
  const pseudo = Buffer.alloc(40);
  pseudo.set(header.subarray(8), 0);
  pseudo.writeUInt32BE(echo.length, 32);
  pseudo[39] = ICMPV6;
  echo.writeUInt16BE(checksum(Buffer.concat([pseudo, echo])), 2);
  return Buffer.concat([header, echo]);
}

/**
 * Decodes an echo or an error about a packet; undefined for anything else. `packet` is the ICMP message
 * without the IP header.
 */
export function decodeIcmp(family: Family, from: Ip, packet: Buffer): IcmpMessage | undefined {
  if (packet.length < ICMP_HEADER) return undefined;
  const kind = packet.readUInt8(0);
  if (kind === ECHO_REQUEST[family] || kind === ECHO_REPLY[family]) {
    const echo = {
      from,
      id: packet.readUInt16BE(4),
      sequence: packet.readUInt16BE(6),
      size: packet.length - ICMP_HEADER,
    };
    return kind === ECHO_REPLY[family] ? { type: 'reply', ...echo } : { type: 'request', ...echo };
  }
  return decodeError(family, from, packet);
}

/** The Internet checksum (RFC 1071). */
export function checksum(bytes: Buffer): number {
  let sum = 0;
  for (let i = 0; i + 1 < bytes.length; i += 2) sum += bytes.readUInt16BE(i);
  if (bytes.length % 2) sum += (bytes.at(-1) ?? 0) << 8;
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

function decodeError(family: Family, from: Ip, packet: Buffer): IcmpError | undefined {
  const code = packet.readUInt8(1);
  const type = errorType(family, packet.readUInt8(0), code);
  const original = packet.subarray(ICMP_HEADER);
  if (!type || original.length < (family === 4 ? 20 : IPV6_HEADER)) return undefined;
  const inner = original.subarray(family === 4 ? 4 * (original.readUInt8(0) & 15) : IPV6_HEADER);
  const protocol = original.readUInt8(family === 4 ? 9 : 6);
  const isEcho = inner.length >= ICMP_HEADER && inner.readUInt8(0) === ECHO_REQUEST[family];
  return {
    type,
    from,
    code,
    mtu: type === 'too-big' ? (family === 4 ? packet.readUInt16BE(6) : packet.readUInt32BE(4)) : undefined,
    to: ipFromBytes(family === 4 ? original.subarray(16, 20) : original.subarray(24, 40)),
    id: isEcho ? inner.readUInt16BE(4) : undefined,
    sequence: isEcho ? inner.readUInt16BE(6) : undefined,
    protocol,
    port: protocol === UDP && inner.length >= 4 ? inner.readUInt16BE(2) : undefined,
  };
}

function errorType(family: Family, type: number, code: number): IcmpError['type'] | undefined {
  if (type === TIME_EXCEEDED[family]) return 'time-exceeded';
  if (family === 6 && type === PACKET_TOO_BIG) return 'too-big';
  if (family === 6 && type === PARAMETER_PROBLEM && code === UNKNOWN_NEXT_HEADER) return 'unknown-protocol';
  if (type !== UNREACHABLE[family]) return undefined;
  return family === 4 && code === FRAGMENTATION_NEEDED ? 'too-big' : 'unreachable';
}
