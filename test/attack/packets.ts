// Frames as attackers build them: every header by hand.
import { type Ip, ipToBytes, parseIp } from '../../src/ip/address.ts';
import { macToBytes, parseMac } from '../../src/ip/mac.ts';

const ip = (text: string): Uint8Array => ipToBytes(parseIp(text));
const mac = (text: string): Uint8Array => macToBytes(parseMac(text));
const u16 = (value: number): Buffer => Buffer.from([(value >> 8) & 0xff, value & 0xff]);

export const TYPE = { ip: 0x0800, arp: 0x0806, ip6: 0x86dd, vlan: 0x8100, qinq: 0x88a8 } as const;
export const PROTOCOL = {
  icmp: 1,
  igmp: 2,
  udp: 17,
  icmp6: 58,
  pim: 103,
  fragment: 44,
  hopByHop: 0,
  options: 60,
} as const;
export const BROADCAST = 'ff:ff:ff:ff:ff:ff';

/** An Ethernet frame, padded. */
export function frame(dst: string, src: string, type: number, payload: Uint8Array): Buffer {
  const bytes = Buffer.concat([mac(dst), mac(src), u16(type), payload]);
  return Buffer.concat([bytes], Math.max(bytes.length, 60));
}

/** A tag before the type of a frame; identifier 0 is a priority tag, which receivers ignore. */
export function tagged(bytes: Buffer, tag: number = TYPE.vlan): Buffer {
  return Buffer.concat([bytes.subarray(0, 12), u16(tag), u16(0), bytes.subarray(12)]);
}

export function arp(
  operation: 1 | 2,
  sender: [mac: string, ip: string],
  target: [mac: string, ip: string],
): Buffer {
  return Buffer.concat([
    Buffer.from([0, 1, 8, 0, 6, 4, 0, operation]),
    mac(sender[0]),
    ip(sender[1]),
    mac(target[0]),
    ip(target[1]),
  ]);
}

type Fragment = { readonly id: number; readonly offset: number; readonly more: boolean };

/** `fragment`: its place, in bytes. */
type Contents = readonly [
  src: string,
  dst: string,
  protocol: number,
  payload: Uint8Array,
  fragment?: Fragment,
];

/** An IP packet of the addresses' family. */
export function packet(...contents: Contents): Buffer {
  const [src] = contents;
  return src.includes(':') ? packet6(contents) : packet4(contents);
}

function packet4([src, dst, protocol, payload, fragment]: Contents): Buffer {
  const header = Buffer.alloc(20);
  header[0] = 0x45;
  header.writeUInt16BE(20 + payload.length, 2);
  header.writeUInt16BE(fragment?.id ?? 0, 4);
  if (fragment) header.writeUInt16BE((fragment.more ? 0x2000 : 0) | (fragment.offset >> 3), 6);
  header[8] = 64;
  header[9] = protocol;
  header.set(ip(src), 12);
  header.set(ip(dst), 16);
  header.writeUInt16BE(checksum(header), 10);
  return Buffer.concat([header, payload]);
}

function packet6([src, dst, protocol, payload, fragment]: Contents): Buffer {
  const inner = fragment ? Buffer.concat([fragmentHeader(protocol, fragment), payload]) : payload;
  const header = Buffer.alloc(40);
  header[0] = 0x60;
  header.writeUInt16BE(inner.length, 4);
  header[6] = fragment ? PROTOCOL.fragment : protocol;
  // Neighbour discovery demands that it was not forwarded.
  header[7] = 255;
  header.set(ip(src), 8);
  header.set(ip(dst), 24);
  return Buffer.concat([header, inner]);
}

function fragmentHeader(protocol: number, { id, offset, more }: Fragment): Buffer {
  const header = Buffer.alloc(8);
  header[0] = protocol;
  header.writeUInt16BE(offset | (more ? 1 : 0), 2);
  header.writeUInt32BE(id, 4);
  return header;
}

/** The same packet in pieces of `size` bytes of payload, a multiple of eight. */
export function fragments(
  src: string,
  dst: string,
  protocol: number,
  payload: Uint8Array,
  size = 16,
): Buffer[] {
  const id = Math.floor(Math.random() * 0xffff);
  const count = Math.ceil(payload.length / size);
  return Array.from({ length: count }, (_, i) =>
    packet(src, dst, protocol, payload.subarray(i * size, (i + 1) * size), {
      id,
      offset: i * size,
      more: i < count - 1,
    }),
  );
}

/** An extension header that says nothing, before `protocol`. */
export function extension(protocol: number, payload: Uint8Array): Buffer {
  return Buffer.concat([Buffer.from([protocol, 0, 1, 4, 0, 0, 0, 0]), payload]);
}

export function udp(src: string, dst: string, ports: [src: number, dst: number], data: Uint8Array): Buffer {
  const header = Buffer.concat([u16(ports[0]), u16(ports[1]), u16(8 + data.length), u16(0), data]);
  header.writeUInt16BE(checksum(pseudo(src, dst, PROTOCOL.udp, header)), 6);
  return header;
}

export function icmp(type: number, code: number, body: Uint8Array): Buffer {
  const bytes = Buffer.concat([Buffer.from([type, code, 0, 0]), body]);
  bytes.writeUInt16BE(checksum(bytes), 2);
  return bytes;
}

export function icmp6(src: string, dst: string, type: number, body: Uint8Array, code = 0): Buffer {
  const bytes = Buffer.concat([Buffer.from([type, code, 0, 0]), body]);
  bytes.writeUInt16BE(checksum(pseudo(src, dst, PROTOCOL.icmp6, bytes)), 2);
  return bytes;
}

/** Solicitation (135) or advertisement (136: solicited, override) of `target`, with a link-layer option. */
export function neighbour(
  src: string,
  dst: string,
  type: 135 | 136,
  target: string,
  option?: string,
): Buffer {
  const flags = Buffer.from([type === 136 ? 0x60 : 0, 0, 0, 0]);
  const extra = option === undefined ? [] : [Buffer.from([type === 135 ? 1 : 2, 1]), mac(option)];
  return icmp6(src, dst, type, Buffer.concat([flags, ip(target), ...extra]));
}

/** A router advertisement: lifetime 1800 s, with a prefix. `timers`: 8 bytes that are rarely looked at. */
export function routerAdvertisement(
  src: string,
  dst: string,
  prefix: string,
  timers: Uint8Array = new Uint8Array(8),
): Buffer {
  const header = Buffer.concat([Buffer.from([64, 0, 7, 8]), timers.subarray(0, 8)]);
  const option = Buffer.from([3, 4, 64, 0xc0, 0, 1, 0x51, 0x80, 0, 0, 0x38, 0x40, 0, 0, 0, 0]);
  return icmp6(src, dst, 134, Buffer.concat([header, option, ip(prefix)]));
}

/** A frame inside VXLAN, as the payload of UDP. */
export function vxlan(vni: number, inner: Uint8Array): Buffer {
  return Buffer.concat([
    Buffer.from([8, 0, 0, 0, (vni >> 16) & 0xff, (vni >> 8) & 0xff, vni & 0xff, 0]),
    inner,
  ]);
}

/** The group that a solicitation of the address is sent to, and the MAC of that group. */
export function solicitedNode(address: string): { group: Ip; mac: string } {
  const [a = 0, b = 0, c = 0] = ip(address).subarray(13);
  const hex = (byte: number): string => byte.toString(16).padStart(2, '0');
  return {
    group: parseIp(`ff02::1:ff${hex(a)}:${hex(b)}${hex(c)}`),
    mac: `33:33:ff:${hex(a)}:${hex(b)}:${hex(c)}`,
  };
}

function pseudo(src: string, dst: string, protocol: number, payload: Uint8Array): Buffer {
  const length = Buffer.alloc(4);
  length.writeUInt32BE(payload.length);
  return Buffer.concat([ip(src), ip(dst), length, Buffer.from([0, 0, 0, protocol]), payload]);
}

/** RFC 1071. */
function checksum(bytes: Uint8Array): number {
  let sum = 0;
  for (let i = 0; i < bytes.length; i += 2) sum += ((bytes[i] ?? 0) << 8) | (bytes[i + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  return ~sum & 0xffff;
}
