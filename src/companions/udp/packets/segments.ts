import { checksumOf, fold, type Memory } from './checksum.ts';
import { type Packet, TCP, UDP } from './packet.ts';
import { GSO_NONE, GSO_TCPV4, GSO_TCPV6, GSO_UDP_L4, NEEDS_CSUM, type VnetHeader } from './vnet-header.ts';

/** Of the last segment only: the others are not the end of anything. */
const FIN_PSH = 0x09;
/** Of the first segment only (RFC 3168 §6.1.2). */
const CWR = 0x80;

/** Segments of a packet: all but the last are of one size. */
export type Segments = { count: number; size: number; lastSize: number };

/**
 * Cuts what the kernel left uncut, as a network card would: each segment gets the headers, with lengths,
 * identification, sequence number, flags and checksums of its own. Writes the segments behind one another to
 * `to`, from its beginning. A packet that needs no cutting is one segment. False if the kernel's description
 * does not fit the packet, or the segments do not fit `to`.
 */
export function writeSegments(
  packet: Packet,
  from: Memory,
  { flags, gsoType, gsoSize, csumStart, csumOffset }: VnetHeader,
  to: Memory,
  segments: Segments,
): boolean {
  const { start, end, bytes } = packet;
  const transport = start + csumStart;
  if (gsoType === GSO_NONE) {
    if (to.bytes.length < packet.length) return false;
    bytes.copy(to.bytes, 0, start, end);
    segments.count = 1;
    segments.size = segments.lastSize = packet.length;
    if ((flags & NEEDS_CSUM) === 0) return true;
    const field = csumStart + csumOffset;
    if (field + 2 > packet.length) return false;
    // The field holds the sum of the pseudo-header. A UDP checksum of zero would mean none.
    const sum = checksumOf(to.sum(csumStart, packet.length));
    to.bytes.writeUInt16BE(sum === 0 && csumOffset === 6 ? 0xffff : sum, field);
    return true;
  }
  const isTcp = gsoType === GSO_TCPV4 || gsoType === GSO_TCPV6;
  if (!isTcp && gsoType !== GSO_UDP_L4) return false;
  if (
    gsoSize === 0 ||
    (flags & NEEDS_CSUM) === 0 ||
    transport < packet.payload ||
    transport + (isTcp ? 20 : 8) > end
  )
    return false;
  const header = csumStart + (isTcp ? ((bytes[transport + 12] ?? 0) >> 4) * 4 : 8);
  if (start + header > end || (isTcp && header < csumStart + 20)) return false;
  const payload = packet.length - header;
  const count = Math.max(1, Math.ceil(payload / gsoSize));
  const size = header + gsoSize;
  if (count * size > to.bytes.length) return false;
  segments.count = count;
  segments.size = count === 1 ? header + payload : size;
  segments.lastSize = payload === 0 ? header : header + payload - (count - 1) * gsoSize;
  const pseudo = pseudoHeader(packet, from, isTcp ? TCP : UDP);
  for (let i = 0; i < count; i++) {
    const at = i * size;
    const length = i === count - 1 ? segments.lastSize : size;
    const source = start + header + i * gsoSize;
    bytes.copy(to.bytes, at, start, start + header);
    bytes.copy(to.bytes, at + header, source, source + length - header);
    writeIpHeader(packet, to, at, length, i);
    const l4 = at + csumStart;
    if (isTcp) {
      to.bytes.writeUInt32BE((bytes.readUInt32BE(transport + 4) + i * gsoSize) >>> 0, l4 + 4);
      let tcpFlags = bytes[transport + 13] ?? 0;
      if (i < count - 1) tcpFlags &= ~FIN_PSH;
      if (i > 0) tcpFlags &= ~CWR;
      to.bytes[l4 + 13] = tcpFlags;
    } else {
      to.bytes.writeUInt16BE(length - csumStart, l4 + 4);
    }
    const field = l4 + (isTcp ? 16 : 6);
    to.bytes.writeUInt16BE(0, field);
    const sum = checksumOf(pseudo + length - csumStart + to.sum(l4, at + length));
    to.bytes.writeUInt16BE(sum === 0 && !isTcp ? 0xffff : sum, field);
  }
  return true;
}

/** The sum of the pseudo-header without the length (RFC 9293 §3.1, RFC 8200 §8.1). */
export function pseudoHeader(packet: Packet, memory: Memory, protocol: number): number {
  const addresses = packet.family === 4 ? 8 : 32;
  return fold(memory.sum(packet.source, packet.source + addresses) + protocol);
}

function writeIpHeader(packet: Packet, to: Memory, at: number, length: number, i: number): void {
  const { bytes } = to;
  if (packet.family === 6) {
    bytes.writeUInt16BE(length - 40, at + 4);
    return;
  }
  bytes.writeUInt16BE(length, at + 2);
  bytes.writeUInt16BE((packet.bytes.readUInt16BE(packet.start + 4) + i) & 0xffff, at + 4);
  bytes.writeUInt16BE(0, at + 10);
  bytes.writeUInt16BE(checksumOf(to.sum(at, at + packet.payload - packet.start)), at + 10);
}
