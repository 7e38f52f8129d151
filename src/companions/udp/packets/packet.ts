import type { Family } from '../../../ip/address.ts';

export const TCP = 6;
export const UDP = 17;
const ICMP = 1;
const ICMPV6 = 58;

/**
 * The IP header of a packet in a buffer. One object reads one packet after another: nothing is allocated for
 * a packet.
 */
export class Packet {
  bytes: Buffer = Buffer.alloc(0);
  family: Family = 4;
  /** Where it begins and ends in `bytes`. */
  start = 0;
  end = 0;
  /** Where its payload begins: behind the IPv4 options; for IPv6 behind the fixed header. */
  payload = 0;
  /** IP protocol of what is at `payload`. */
  protocol = 0;
  /** Whether it is a part of a packet, and not the first. */
  isLaterFragment = false;

  /**
   * Reads the packet that begins at `start`; `limit`: where the bytes that were received end. False if it is
   * not one, or not all there.
   */
  read(bytes: Buffer, start: number, limit: number): boolean {
    const first = bytes[start];
    if (first === undefined || start >= limit) return false;
    this.bytes = bytes;
    this.start = start;
    const version = first >> 4;
    if (version === 4) return this.#readIpv4(first, limit);
    return version === 6 && this.#readIpv6(limit);
  }

  #readIpv4(first: number, limit: number): boolean {
    const { bytes, start } = this;
    const header = (first & 15) * 4;
    if (header < 20 || start + header > limit) return false;
    const length = bytes.readUInt16BE(start + 2);
    if (length < header || start + length > limit) return false;
    this.family = 4;
    this.end = start + length;
    this.payload = start + header;
    this.protocol = bytes[start + 9] ?? 0;
    this.isLaterFragment = (bytes.readUInt16BE(start + 6) & 0x1fff) !== 0;
    return true;
  }

  #readIpv6(limit: number): boolean {
    const { bytes, start } = this;
    if (start + 40 > limit) return false;
    const end = start + 40 + bytes.readUInt16BE(start + 4);
    if (end > limit) return false;
    this.family = 6;
    this.end = end;
    this.payload = start + 40;
    this.protocol = bytes[start + 6] ?? 0;
    this.isLaterFragment = false;
    return true;
  }

  get length(): number {
    return this.end - this.start;
  }

  /** Whether its IP header has only the fields that every packet has, so that packets of a flow are alike. */
  get isPlain(): boolean {
    if (this.family === 6) return true;
    // No options, and no fragment.
    return this.payload - this.start === 20 && (this.bytes.readUInt16BE(this.start + 6) & 0x3fff) === 0;
  }

  /** Where the destination address begins. */
  get destination(): number {
    return this.start + (this.family === 4 ? 16 : 24);
  }

  /** Where the source address begins. */
  get source(): number {
    return this.start + (this.family === 4 ? 12 : 8);
  }

  /** Time to live, or hop limit. */
  get ttl(): number {
    return this.bytes[this.start + (this.family === 4 ? 8 : 7)] ?? 0;
  }

  /** Takes one off the time to live, as each router does; IPv4's checksum follows (RFC 1141). */
  decrementTtl(): void {
    const { bytes, start } = this;
    if (this.family === 6) {
      bytes[start + 7] = this.ttl - 1;
      return;
    }
    bytes[start + 8] = this.ttl - 1;
    const sum = bytes.readUInt16BE(start + 10) + 0x100;
    bytes.writeUInt16BE((sum & 0xffff) + (sum >> 16), start + 10);
  }

  /** Whether it reports an error: no error is sent about such a packet (RFC 1122 §3.2.2, RFC 4443 §2.4). */
  get isIcmpError(): boolean {
    const type = this.bytes[this.payload] ?? 0;
    if (this.family === 6) return this.protocol === ICMPV6 && type < 128;
    return this.protocol === ICMP && ![0, 8, 13, 14].includes(type);
  }
}
