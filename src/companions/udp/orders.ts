import { closeSync, rmSync } from 'node:fs';
import { type Passed, passDescriptors, takeDescriptors } from '../../linux/descriptors.ts';
import * as sys from '../../linux/sys.ts';

const AF_UNIX = 1;
const SOCK_DGRAM = 2;
/** Milliseconds. */
const SLICE = 20;
/** Bytes of struct sockaddr_un's path, with the null byte. */
const PATH = 108;

/**
 * `change`: the settings have changed. `yield`: give all open files to the sender, and end. `stop`: end.
 */
export type Order = 'change' | 'yield' | 'stop';

/** A socket at which a forwarder takes orders. */
export class Orders implements Disposable {
  readonly fd: number;
  readonly #path: string;
  readonly #buffer = Buffer.alloc(64);
  /** Of the last order's sender: a struct sockaddr_un. */
  readonly #sender = Buffer.alloc(2 + PATH);

  constructor(path: string) {
    rmSync(path, { force: true });
    this.#path = path;
    this.fd = sys.socket(AF_UNIX, SOCK_DGRAM | sys.SOCK_NONBLOCK | sys.SOCK_CLOEXEC, 0);
    sys.bind(this.fd, unixAddress(path));
  }

  /** The next one; undefined for none. */
  take(): string | undefined {
    const size = sys.recvfrom(this.fd, this.#buffer, 0, this.#sender.fill(0));
    return size === undefined ? undefined : this.#buffer.toString('latin1', 0, size);
  }

  /** Gives open files to the sender of the last order. Throws SYSCALL if it is gone. */
  answer(passed: Passed): void {
    passDescriptors(this.fd, this.#sender.subarray(0, this.#sender.indexOf(0, 2) + 1), passed);
  }

  /**
   * Gives an order, and returns the files that are given in return: undefined if nothing comes within
   * `patience` milliseconds, or while `isThere`.
   */
  ask(path: string, order: Order, patience: number, isThere: () => boolean): Passed | undefined {
    sys.sendto(this.fd, Buffer.from(order), sys.MSG_DONTWAIT, unixAddress(path));
    const table = sys.pollTable([this.fd]);
    for (const end = performance.now() + patience; performance.now() < end && isThere(); )
      if (sys.pollHere(table, 1, SLICE)) break;
    return takeDescriptors(this.fd);
  }

  [Symbol.dispose](): void {
    closeSync(this.fd);
    rmSync(this.#path, { force: true });
  }
}

/**
 * Throws SYSCALL, with ENOENT or ECONNREFUSED if nobody takes orders there, EAGAIN if many have not been
 * taken.
 */
export function give(path: string, order: Order): void {
  const fd = sys.socket(AF_UNIX, SOCK_DGRAM | sys.SOCK_CLOEXEC, 0);
  try {
    sys.sendto(fd, Buffer.from(order), sys.MSG_DONTWAIT, unixAddress(path));
  } finally {
    closeSync(fd);
  }
}

function unixAddress(path: string): Buffer {
  const address = Buffer.alloc(2 + PATH);
  address.writeUInt16LE(AF_UNIX, 0);
  if (Buffer.byteLength(path) >= PATH)
    throw new Error(`${path}: longer than ${PATH - 1} bytes, as a socket's path can be`);
  address.write(path, 2);
  return address;
}
