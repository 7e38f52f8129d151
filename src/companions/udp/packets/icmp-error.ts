import type { Family, Ip } from '../../../ip/address.ts';
import { ipToBytes } from '../../../ip/address.ts';
import { checksumOf, fold, Memory } from './checksum.ts';
import type { Packet } from './packet.ts';

/** What a router tells the sender of a packet that it does not forward. */
export type Reason = 'ttl exceeded' | 'no route';

/** Types and codes (RFC 792, RFC 4443). */
const CODES: Record<Reason, Record<Family, readonly [type: number, code: number]>> = {
  'ttl exceeded': { 4: [11, 0], 6: [3, 0] },
  'no route': { 4: [3, 0], 6: [1, 0] },
};
/** Bytes of the whole message, so that it fits any path (RFC 1812 §4.3.2.3, RFC 4443 §3). */
const LONGEST: Record<Family, number> = { 4: 576, 6: 1280 };
const PROTOCOL: Record<Family, number> = { 4: 1, 6: 58 };
const HOP_LIMIT = 64;

/** The message to a packet's sender, from `source`. Not about errors, nor about later fragments. */
export function icmpError(packet: Packet, reason: Reason, source: Ip): Buffer {
  const { family, bytes, start } = packet;
  const ipHeader = family === 4 ? 20 : 40;
  const quoted = Math.min(packet.length, LONGEST[family] - ipHeader - 8);
  const length = ipHeader + 8 + quoted;
  const memory = new Memory(Buffer.alloc((length + 3) & ~3));
  const out = memory.bytes;
  const [type, code] = CODES[reason][family];
  const from = ipToBytes(source);
  if (family === 4) {
    out[0] = 0x45;
    // Internetwork control (RFC 1812 §4.3.2.5).
    out[1] = 0xc0;
    out.writeUInt16BE(length, 2);
    out[8] = HOP_LIMIT;
    out[9] = PROTOCOL[4];
    out.set(from, 12);
    bytes.copy(out, 16, packet.source, packet.source + 4);
    out.writeUInt16BE(checksumOf(memory.sum(0, 20)), 10);
  } else {
    out[0] = 0x60;
    out.writeUInt16BE(8 + quoted, 4);
    out[6] = PROTOCOL[6];
    out[7] = HOP_LIMIT;
    out.set(from, 8);
    bytes.copy(out, 24, packet.source, packet.source + 16);
  }
  out[ipHeader] = type;
  out[ipHeader + 1] = code;
  bytes.copy(out, ipHeader + 8, start, start + quoted);
  const pseudo = family === 4 ? 0 : fold(memory.sum(8, 40) + PROTOCOL[6] + 8 + quoted);
  out.writeUInt16BE(checksumOf(pseudo + memory.sum(ipHeader, length)), ipHeader + 2);
  return out.subarray(0, length);
}
