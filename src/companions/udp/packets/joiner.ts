import { checksumOf, fold, Memory } from './checksum.ts';
import { Packet, TCP } from './packet.ts';
import { pseudoHeader } from './segments.ts';
import { GSO_NONE, GSO_TCPV4, GSO_TCPV6, NEEDS_CSUM, VNET_HEADER, writeVnetHeader } from './vnet-header.ts';

/** Where a packet begins, so that the payload of most TCP packets is aligned for sums. */
const START = VNET_HEADER + 2;
/** Bytes of the longest packet that a TUN device takes. */
const LONGEST = 65535;
const ACK = 0x10;
const PSH = 0x08;

/**
 * Joins packets of a TCP connection that follow one another, as the kernel does for a network card (GRO): one
 * large packet passes bridge and firewall once. Everything else passes as it is. `write` gets each packet
 * behind a vnet header, at `from` in `bytes`.
 *
 * A packet joins only if its checksum is right: the kernel will not look at it again.
 */
export class Joiner {
  readonly #write: (bytes: Buffer, from: number, to: number) => void;
  readonly #memory = new Memory(Buffer.allocUnsafeSlow(START + LONGEST + 1));
  readonly #packet = new Packet();
  /** What is being joined: its end in memory, 0 for nothing. */
  #end = 0;
  #count = 0;
  /** Bytes of its IP and TCP headers, and of the payload of each segment but the last. */
  #header = 0;
  #segment = 0;
  #nextSequence = 0;
  /** Whether a shorter segment or PSH has ended it. */
  #isComplete = false;

  constructor(write: (bytes: Buffer, from: number, to: number) => void) {
    this.#write = write;
  }

  /** Takes a packet that has been read from `memory`. */
  add(packet: Packet, memory: Memory): void {
    const isSegment = packet.protocol === TCP && packet.isPlain && this.#isJoinable(packet, memory);
    if (isSegment && this.#end !== 0 && this.#join(packet)) return;
    this.flush();
    const { bytes } = this.#memory;
    packet.bytes.copy(bytes, START, packet.start, packet.end);
    this.#end = START + packet.length;
    this.#count = 1;
    if (!isSegment) {
      this.flush();
      return;
    }
    const tcp = packet.payload - packet.start;
    this.#header = tcp + this.#tcpHeader(packet);
    this.#segment = packet.length - this.#header;
    this.#nextSequence = (packet.bytes.readUInt32BE(packet.payload + 4) + this.#segment) >>> 0;
    this.#isComplete = ((packet.bytes[packet.payload + 13] ?? 0) & PSH) !== 0;
  }

  /** Writes what has been joined. */
  flush(): void {
    if (this.#end === 0) return;
    const { bytes } = this.#memory;
    const from = START - VNET_HEADER;
    if (this.#count === 1) bytes.fill(0, from, START);
    else this.#complete();
    this.#write(bytes, from, this.#end);
    this.#end = 0;
  }

  /** Whether it carries data and nothing but ACK and PSH, with a right checksum. */
  #isJoinable(packet: Packet, memory: Memory): boolean {
    const { bytes, payload, end } = packet;
    if (end - payload < 20) return false;
    const header = this.#tcpHeader(packet);
    const flags = bytes[payload + 13] ?? 0;
    if (header < 20 || payload + header >= end || (flags & ~PSH) !== ACK) return false;
    const sum = pseudoHeader(packet, memory, TCP) + end - payload + memory.sum(payload, end);
    return fold(sum) === 0xffff;
  }

  #tcpHeader({ bytes, payload }: Packet): number {
    return ((bytes[payload + 12] ?? 0) >> 4) * 4;
  }

  #join(packet: Packet): boolean {
    const { bytes, start, payload, end } = packet;
    const header = payload - start + this.#tcpHeader(packet);
    const length = end - start - header;
    if (
      this.#isComplete ||
      header !== this.#header ||
      length > this.#segment ||
      this.#end + length > START + LONGEST ||
      bytes.readUInt32BE(payload + 4) !== this.#nextSequence ||
      !this.#isSameFlow(packet)
    )
      return false;
    bytes.copy(this.#memory.bytes, this.#end, start + header, end);
    this.#end += length;
    this.#count++;
    this.#nextSequence = (this.#nextSequence + length) >>> 0;
    const push = (bytes[payload + 13] ?? 0) & PSH;
    if (push) {
      const flags = START + payload - start + 13;
      this.#memory.bytes[flags] = (this.#memory.bytes[flags] ?? 0) | PSH;
    }
    this.#isComplete = push !== 0 || length < this.#segment;
    return true;
  }

  /** Everything but lengths, identification, checksums, sequence number and flags must be equal. */
  #isSameFlow({ bytes, start, payload, family }: Packet): boolean {
    const own = this.#memory.bytes;
    const same = (from: number, to: number): boolean => {
      for (let i = from; i < to; i++) if (bytes[start + i] !== own[START + i]) return false;
      return true;
    };
    const tcp = payload - start;
    const ip = family === 4 ? same(0, 2) && same(6, 10) && same(12, 20) : same(0, 4) && same(6, 40);
    return (
      ip &&
      same(tcp, tcp + 4) &&
      same(tcp + 8, tcp + 13) &&
      same(tcp + 14, tcp + 16) &&
      same(tcp + 18, this.#header)
    );
  }

  /** Gives what was joined the headers of one packet, with the rest for the kernel to do. */
  #complete(): void {
    const memory = this.#memory;
    const { bytes } = memory;
    const packet = this.#packet;
    const length = this.#end - START;
    const isIpv4 = (bytes[START] ?? 0) >> 4 === 4;
    if (isIpv4) {
      bytes.writeUInt16BE(length, START + 2);
      bytes.writeUInt16BE(0, START + 10);
      bytes.writeUInt16BE(checksumOf(memory.sum(START, START + 20)), START + 10);
    } else {
      bytes.writeUInt16BE(length - 40, START + 4);
    }
    packet.read(bytes, START, this.#end);
    const tcp = packet.payload - START;
    bytes.writeUInt16BE(fold(pseudoHeader(packet, memory, TCP) + length - tcp), packet.payload + 16);
    const gsoType = isIpv4 ? GSO_TCPV4 : GSO_TCPV6;
    const header = { flags: NEEDS_CSUM, gsoType, gsoSize: this.#segment, csumStart: tcp, csumOffset: 16 };
    writeVnetHeader(
      bytes,
      START - VNET_HEADER,
      this.#count > 1 ? header : { ...header, gsoType: GSO_NONE },
      this.#header,
    );
  }
}
