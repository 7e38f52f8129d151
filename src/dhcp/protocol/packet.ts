import { type Ip, ipFromBytes, ipToBytes, parseIp } from '../../ip/address.ts';

const IP_HEADER = 20;
const UDP_HEADER = 8;
const UDP = 17;
const TTL = 64;
/** More fragments, and the offset of this one. */
const FRAGMENT = 0x3fff;

export const EVERYBODY = parseIp('255.255.255.255');
/** The source of those that have no address yet. */
export const UNSPECIFIED = parseIp('0.0.0.0');

export type Datagram = {
  readonly from: Ip;
  readonly fromPort: number;
  readonly to: Ip;
  readonly toPort: number;
  readonly payload: Buffer;
};

/** An IPv4 packet with a UDP datagram, for a host that has no address yet. */
export function encodeDatagram({ from, fromPort, to, toPort, payload }: Datagram): Buffer {
  const packet = Buffer.alloc(IP_HEADER + UDP_HEADER + payload.length);
  packet[0] = 0x45;
  packet.writeUInt16BE(packet.length, 2);
  packet[8] = TTL;
  packet[9] = UDP;
  packet.set(ipToBytes(from), 12);
  packet.set(ipToBytes(to), 16);
  packet.writeUInt16BE(checksum(packet.subarray(0, IP_HEADER)), 10);
  packet.writeUInt16BE(fromPort, IP_HEADER);
  packet.writeUInt16BE(toPort, IP_HEADER + 2);
  packet.writeUInt16BE(UDP_HEADER + payload.length, IP_HEADER + 4);
  packet.set(payload, IP_HEADER + UDP_HEADER);
  // The pseudo header: addresses, protocol and length (RFC 768).
  const pseudo = Buffer.alloc(12);
  pseudo.set(packet.subarray(12, 20));
  pseudo[9] = UDP;
  pseudo.writeUInt16BE(UDP_HEADER + payload.length, 10);
  packet.writeUInt16BE(checksum(pseudo, packet.subarray(IP_HEADER)) || 0xffff, IP_HEADER + 6);
  return packet;
}

/**
 * Undefined for anything but a whole UDP datagram. Its checksum is not verified: on one machine, the kernel
 * has not computed it yet.
 */
export function decodeDatagram(packet: Buffer): Datagram | undefined {
  if (packet.length < IP_HEADER + UDP_HEADER || (packet[0] as number) >> 4 !== 4) return undefined;
  const header = 4 * ((packet[0] as number) & 0xf);
  const total = packet.readUInt16BE(2);
  if (header < IP_HEADER || total < header + UDP_HEADER || total > packet.length) return undefined;
  if (packet[9] !== UDP || (packet.readUInt16BE(6) & FRAGMENT) !== 0) return undefined;
  const length = packet.readUInt16BE(header + 4);
  if (length < UDP_HEADER || header + length > total) return undefined;
  return {
    from: ipFromBytes(packet.subarray(12, 16)),
    fromPort: packet.readUInt16BE(header),
    to: ipFromBytes(packet.subarray(16, 20)),
    toPort: packet.readUInt16BE(header + 2),
    payload: packet.subarray(header + UDP_HEADER, header + length),
  };
}

/** The Internet checksum (RFC 1071); an odd last byte counts as if zero followed. */
function checksum(...parts: readonly Buffer[]): number {
  let sum = 0;
  for (const part of parts) {
    for (let at = 0; at < part.length; at += 2) sum += ((part[at] as number) << 8) + (part[at + 1] ?? 0);
  }
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}
