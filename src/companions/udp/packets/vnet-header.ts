/**
 * struct virtio_net_hdr, which precedes each packet that is read from or written to a TUN device with
 * IFF_VNET_HDR: what the kernel left for the device to do, in host byte order.
 */
export const VNET_HEADER = 10;

export const GSO_NONE = 0;
export const GSO_TCPV4 = 1;
export const GSO_TCPV6 = 4;
export const GSO_UDP_L4 = 5;

/** The kernel left a checksum to be completed. */
export const NEEDS_CSUM = 1;

export type VnetHeader = {
  readonly flags: number;
  readonly gsoType: number;
  /** Bytes of payload in each segment. */
  readonly gsoSize: number;
  /** Where the checksum begins, and its place from there; both from the start of the packet. */
  readonly csumStart: number;
  readonly csumOffset: number;
};

export function readVnetHeader(
  bytes: Buffer,
  at: number,
  into: { -readonly [K in keyof VnetHeader]: number },
): void {
  into.flags = bytes[at] ?? 0;
  // GSO_ECN (0x80) only says that CWR is set.
  into.gsoType = (bytes[at + 1] ?? 0) & 0x7f;
  into.gsoSize = bytes.readUInt16LE(at + 4);
  into.csumStart = bytes.readUInt16LE(at + 6);
  into.csumOffset = bytes.readUInt16LE(at + 8);
}

export function writeVnetHeader(bytes: Buffer, at: number, header: VnetHeader, headerLength: number): void {
  bytes[at] = header.flags;
  bytes[at + 1] = header.gsoType;
  bytes.writeUInt16LE(headerLength, at + 2);
  bytes.writeUInt16LE(header.gsoSize, at + 4);
  bytes.writeUInt16LE(header.csumStart, at + 6);
  bytes.writeUInt16LE(header.csumOffset, at + 8);
}
