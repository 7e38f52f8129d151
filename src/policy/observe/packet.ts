import { type Family, type Ip, ipFromBytes } from '../../ip/address.ts';
import { type Flow, hasPorts, ICMP, ICMPV6 } from '../model/traffic.ts';

/** A connection as its packet's headers tell it. */
export type Heading = { readonly source: Ip; readonly destination: Ip; readonly flow: Flow };

/** Bytes from the IP header on that are enough for nearly any packet. */
export const HEADING_BYTES = 128;

/** IPv6 extension headers of a length in units of eight bytes, one not counted: RFC 8200, section 4. */
const EXTENSIONS: readonly number[] = [0, 43, 60];
const FRAGMENT = 44;
const AUTHENTICATION = 51;

/** Reads a packet's headers, as far as they are there; undefined if not even the addresses are. */
export function headingOf(family: Family, packet: Uint8Array): Heading | undefined {
  return family === 4 ? ofIpv4(packet) : ofIpv6(packet);
}

function ofIpv4(packet: Uint8Array): Heading | undefined {
  if (packet.length < 20) return undefined;
  const header = ((packet[0] ?? 0) & 0xf) * 4;
  const isFirst = (u16(packet, 6) & 0x1fff) === 0;
  const payload = isFirst ? packet.subarray(header) : packet.subarray(packet.length);
  return {
    source: ipFromBytes(packet.subarray(12, 16)),
    destination: ipFromBytes(packet.subarray(16, 20)),
    flow: flowOf(4, packet[9] ?? 0, payload),
  };
}

function ofIpv6(packet: Uint8Array): Heading | undefined {
  if (packet.length < 40) return undefined;
  let protocol = packet[6] ?? 0;
  let payload = packet.subarray(40);
  while (payload.length >= 8) {
    const length = payload[1] ?? 0;
    let skipped = 0;
    if (EXTENSIONS.includes(protocol)) skipped = 8 * (length + 1);
    else if (protocol === AUTHENTICATION) skipped = 4 * (length + 2);
    else if (protocol === FRAGMENT) skipped = 8;
    else break;
    const isFirst = protocol !== FRAGMENT || (u16(payload, 2) & 0xfff8) === 0;
    protocol = payload[0] ?? 0;
    payload = isFirst ? payload.subarray(skipped) : payload.subarray(payload.length);
  }
  return {
    source: ipFromBytes(packet.subarray(8, 24)),
    destination: ipFromBytes(packet.subarray(24, 40)),
    flow: flowOf(6, protocol, payload),
  };
}

function flowOf(family: Family, protocol: number, payload: Uint8Array): Flow {
  if (hasPorts(protocol) && payload.length >= 4) return { family, protocol, port: u16(payload, 2) };
  if ((protocol === ICMP || protocol === ICMPV6) && payload.length >= 2)
    return { family, protocol, icmp: { type: payload[0] ?? 0, code: payload[1] ?? 0 } };
  return { family, protocol };
}

function u16(bytes: Uint8Array, at: number): number {
  return ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0);
}
