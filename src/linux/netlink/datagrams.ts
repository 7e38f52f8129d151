import koffi from 'koffi';
import * as sys from '../sys.ts';

/** Datagrams per system call: the creation of a pod's pair causes 26 notifications. */
const COUNT = 32;
/**
 * Bytes for each. A notification has less than 64 KiB; slots never written to cost only address space.
 */
const SIZE = 64 << 10;
/** Bytes of struct mmsghdr, and where it says how long its datagram is. */
const HEADER = 64;
const LENGTH = 56;
/** Bytes of struct iovec. */
const VECTOR = 16;

/** A socket's queued datagrams, read many at a time, taken one by one. */
export class Datagrams {
  readonly #fd: number;
  readonly #data = Buffer.allocUnsafeSlow(COUNT * SIZE);
  /** One struct mmsghdr for each datagram, then the struct iovec it points to. */
  readonly #table = Buffer.alloc(COUNT * (HEADER + VECTOR));
  #read = 0;
  #taken = 0;

  constructor(fd: number) {
    this.#fd = fd;
    const [data, table] = [koffi.address(this.#data), koffi.address(this.#table)];
    for (let i = 0; i < COUNT; i++) {
      const vector = COUNT * HEADER + i * VECTOR;
      this.#table.writeBigUInt64LE(table + BigInt(vector), i * HEADER + 16);
      this.#table.writeBigUInt64LE(1n, i * HEADER + 24);
      this.#table.writeBigUInt64LE(data + BigInt(i * SIZE), vector);
      this.#table.writeBigUInt64LE(BigInt(SIZE), vector + 8);
    }
  }

  /** Whether some have been read and not taken: the kernel does not know of them any more. */
  get areLeft(): boolean {
    return this.#taken < this.#read;
  }

  /**
   * Returns the next one; undefined if none is queued. It is valid until the next call. Throws SYSCALL, with
   * ENOBUFS if the kernel dropped some.
   */
  take(): Buffer | undefined {
    if (this.#taken === this.#read) {
      this.#taken = 0;
      this.#read = 0;
      this.#read = sys.recvmmsg(this.#fd, this.#table, COUNT, sys.MSG_DONTWAIT);
      if (this.#read === 0) return undefined;
    }
    const i = this.#taken++;
    return this.#data.subarray(i * SIZE, i * SIZE + this.#table.readUInt32LE(i * HEADER + LENGTH));
  }
}
