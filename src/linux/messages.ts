import koffi from 'koffi';
import * as sys from './sys.ts';

/** Bytes of struct mmsghdr, of struct iovec, and of what follows for each message. */
const HEADER = 64;
const VECTOR = 16;
const NAME = 28;
/** Room for one control message with an int, and a little more. */
const CONTROL = 64;
/** Where struct mmsghdr says how long the control messages and the datagram are. */
const CONTROL_LENGTH = 40;
const LENGTH = 56;
const SOL_UDP = 17;
const UDP_GRO = 104;
const UDP_SEGMENT = 103;

/**
 * Buffers for receiving datagrams, many in one call: with UDP_GRO each may be several of one sender and size,
 * one behind another.
 */
export class Messages {
  /** The datagrams. Each has `size` bytes. */
  readonly data: Buffer;
  /** The struct sockaddr of each sender. */
  readonly names: Buffer;
  readonly nameSize = NAME;
  readonly size: number;
  readonly #count: number;
  readonly #table: Buffer;
  readonly #control: Buffer;

  /** `size`: a multiple of four. */
  constructor(count: number, size: number) {
    this.#count = count;
    this.size = size;
    this.data = Buffer.allocUnsafeSlow(count * size);
    this.names = Buffer.alloc(count * NAME);
    this.#control = Buffer.alloc(count * CONTROL);
    this.#table = Buffer.alloc(count * (HEADER + VECTOR));
    const [data, names, control, table] = [this.data, this.names, this.#control, this.#table].map((each) =>
      koffi.address(each),
    ) as [bigint, bigint, bigint, bigint];
    for (let i = 0; i < count; i++) {
      const at = i * HEADER;
      const vector = count * HEADER + i * VECTOR;
      this.#table.writeBigUInt64LE(names + BigInt(i * NAME), at);
      this.#table.writeBigUInt64LE(table + BigInt(vector), at + 16);
      this.#table.writeBigUInt64LE(1n, at + 24);
      this.#table.writeBigUInt64LE(control + BigInt(i * CONTROL), at + 32);
      this.#table.writeBigUInt64LE(data + BigInt(i * size), vector);
      this.#table.writeBigUInt64LE(BigInt(size), vector + 8);
    }
  }

  /** Receives what is queued, and returns the number of messages. */
  receive(fd: number): number {
    // The kernel overwrites the lengths of name and control messages.
    for (let i = 0; i < this.#count; i++) {
      this.#table.writeUInt32LE(NAME, i * HEADER + 8);
      this.#table.writeUInt32LE(CONTROL, i * HEADER + CONTROL_LENGTH);
    }
    return sys.recvmmsg(fd, this.#table, this.#count, sys.MSG_DONTWAIT);
  }

  /** Bytes of a message. */
  lengthOf(i: number): number {
    return this.#table.readUInt32LE(i * HEADER + LENGTH);
  }

  /** Bytes of each of its datagrams but the last. */
  segmentOf(i: number): number {
    const at = i * CONTROL;
    const control = this.#control;
    const isThere = this.#table.readUInt32LE(i * HEADER + CONTROL_LENGTH) >= 20;
    if (isThere && control.readInt32LE(at + 8) === SOL_UDP && control.readInt32LE(at + 12) === UDP_GRO)
      return control.readInt32LE(at + 16);
    return this.lengthOf(i);
  }
}

/** Sends several datagrams of one size, to one receiver, in one call (UDP_SEGMENT). */
export class Train {
  readonly #message = Buffer.alloc(56);
  readonly #vector = Buffer.alloc(VECTOR);
  readonly #name = Buffer.alloc(NAME);
  readonly #control = Buffer.alloc(24);
  readonly #base: bigint;

  /** `data`: where the datagrams will be. */
  constructor(data: Buffer) {
    this.#base = koffi.address(data);
    this.#message.writeBigUInt64LE(koffi.address(this.#name), 0);
    this.#message.writeBigUInt64LE(koffi.address(this.#vector), 16);
    this.#message.writeBigUInt64LE(1n, 24);
    this.#message.writeBigUInt64LE(koffi.address(this.#control), 32);
    // struct cmsghdr, then a u16.
    this.#control.writeBigUInt64LE(18n, 0);
    this.#control.writeInt32LE(SOL_UDP, 8);
    this.#control.writeInt32LE(UDP_SEGMENT, 12);
  }

  /** Sends the bytes at `at`, cut every `segment` bytes. Returns an errno negated, or the bytes sent. */
  send(fd: number, to: Buffer, at: number, length: number, segment: number): number {
    to.copy(this.#name);
    this.#message.writeUInt32LE(to.length, 8);
    this.#vector.writeBigUInt64LE(this.#base + BigInt(at), 0);
    this.#vector.writeBigUInt64LE(BigInt(length), 8);
    const isTrain = length > segment;
    this.#message.writeBigUInt64LE(isTrain ? 24n : 0n, 40);
    if (isTrain) this.#control.writeUInt16LE(segment, 16);
    return sys.sendmsgOr(fd, this.#message, sys.MSG_DONTWAIT);
  }
}

/** Lets the kernel hand over datagrams of one sender and size together. */
export function receiveTrains(fd: number): void {
  sys.setsockopt(fd, SOL_UDP, UDP_GRO, 1);
}
