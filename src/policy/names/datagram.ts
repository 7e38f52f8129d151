import { type Ip, ipFromBytes } from '../../ip/address.ts';

const UDP = 17;
const UDP_HEADER = 8;
const IPV6_HEADER = 40;
/** More fragments, and the offset of this one. */
const FRAGMENT = 0x3fff;

/** A UDP datagram's destination and contents. */
export type Datagram = { readonly to: Ip; readonly payload: Uint8Array };

/** Reads an IP packet. Undefined for anything but a whole UDP datagram, behind no IPv6 extension header. */
export function readDatagram(packet: Uint8Array): Datagram | undefined {
  const view = new DataView(packet.buffer, packet.byteOffset, packet.byteLength);
  const header = packet.length < 20 ? undefined : headerOf(packet, view);
  if (!header) return undefined;
  const { to, start, end } = header;
  if (end > packet.length || start + UDP_HEADER > end) return undefined;
  const length = view.getUint16(start + 4);
  if (length < UDP_HEADER || start + length > end) return undefined;
  return { to, payload: packet.subarray(start + UDP_HEADER, start + length) };
}

function headerOf(
  packet: Uint8Array,
  view: DataView,
): { readonly to: Ip; readonly start: number; readonly end: number } | undefined {
  const first = view.getUint8(0);
  switch (first >> 4) {
    case 4: {
      const start = 4 * (first & 0xf);
      if (start < 20 || view.getUint8(9) !== UDP || (view.getUint16(6) & FRAGMENT) !== 0) return undefined;
      return { to: ipFromBytes(packet.subarray(16, 20)), start, end: view.getUint16(2) };
    }
    case 6: {
      if (packet.length < IPV6_HEADER || view.getUint8(6) !== UDP) return undefined;
      const to = ipFromBytes(packet.subarray(24, IPV6_HEADER));
      return { to, start: IPV6_HEADER, end: IPV6_HEADER + view.getUint16(4) };
    }
    default:
      return undefined;
  }
}
