import { closeSync } from 'node:fs';
import { familyOf, type Ip } from '../ip/address.ts';
import { addressFamily } from './netlink/family.ts';
import { withNetns } from './netns.ts';
import { sockaddr } from './sockaddr.ts';
import * as sys from './sys.ts';

const SOCK_DGRAM = 2;
const LARGEST = 65_536;

/** A UDP socket in any network namespace, which Node's own cannot be in. */
export class UdpSocket implements Disposable {
  readonly #fd: number;
  readonly #buffer = Buffer.allocUnsafeSlow(LARGEST);

  private constructor(fd: number) {
    this.#fd = fd;
  }

  /**
   * `from`: the address and port to bind to; the kernel's choice by default, over IPv4. Throws SYSCALL.
   */
  static open(netns: string | number, from?: { readonly ip: Ip; readonly port: number }): UdpSocket {
    const type = SOCK_DGRAM | sys.SOCK_CLOEXEC | sys.SOCK_NONBLOCK;
    const domain = addressFamily(from ? familyOf(from.ip) : 4);
    const fd = withNetns(netns, () => sys.socket(domain, type, 0));
    try {
      if (from) sys.bind(fd, sockaddr(from.ip, from.port));
      return new UdpSocket(fd);
    } catch (error) {
      closeSync(fd);
      throw error;
    }
  }

  send(data: Uint8Array, to: { readonly ip: Ip; readonly port: number }): void {
    sys.sendto(this.#fd, data, 0, sockaddr(to.ip, to.port));
  }

  /** The next datagram, which the next call overwrites; undefined if none is queued. */
  receive(): Buffer | undefined {
    const size = sys.recvfrom(this.#fd, this.#buffer, 0);
    return size === undefined ? undefined : this.#buffer.subarray(0, size);
  }

  [Symbol.dispose](): void {
    closeSync(this.#fd);
  }
}
