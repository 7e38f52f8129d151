import { closeSync } from 'node:fs';
import { type Mac, macToBytes } from '../ip/mac.ts';
import { withNetns } from './netns.ts';
import { receiveOnlyUdp } from './socket-filter.ts';
import * as sys from './sys.ts';

const AF_PACKET = 17;
const SOCK_DGRAM = 2;
export const ETH_P_IP = 0x0800;
export const ETH_P_ARP = 0x0806;
export const BROADCAST_MAC = 'ff:ff:ff:ff:ff:ff' as Mac;
const SOCKADDR_LL = 20;
const LARGEST = 65_536;

/**
 * Packets of one protocol on one interface (packet(7)), without their Ethernet header: for a host that has no
 * address yet.
 */
export class PacketSocket implements Disposable {
  readonly #fd: number;
  readonly #protocol: number;
  readonly #dev: number;
  readonly #buffer = Buffer.allocUnsafeSlow(LARGEST);

  private constructor(fd: number, protocol: number, dev: number) {
    this.#fd = fd;
    this.#protocol = protocol;
    this.#dev = dev;
  }

  /**
   * `netns`: a path or descriptor; `dev`: an interface's index there. `udp`: receives nothing but datagrams
   * between these ports, so that other traffic, however much, leaves room for them. Throws SYSCALL.
   */
  static open({
    netns,
    dev,
    protocol,
    udp,
  }: {
    netns: string | number;
    dev: number;
    protocol: number;
    udp?: { readonly from: number; readonly to: number };
  }): PacketSocket {
    const type = SOCK_DGRAM | sys.SOCK_CLOEXEC | sys.SOCK_NONBLOCK;
    // Nothing is received before it is bound to the interface.
    const fd = withNetns(netns, () => sys.socket(AF_PACKET, type, 0));
    try {
      if (udp) receiveOnlyUdp(fd, udp);
      sys.bind(fd, sockaddr(protocol, dev));
      return new PacketSocket(fd, protocol, dev);
    } catch (error) {
      closeSync(fd);
      throw error;
    }
  }

  send(packet: Uint8Array, to: Mac = BROADCAST_MAC): void {
    sys.sendto(this.#fd, packet, 0, sockaddr(this.#protocol, this.#dev, to));
  }

  /** The next packet, which the next call overwrites; undefined if none is queued. */
  receive(): Buffer | undefined {
    const size = sys.recvfrom(this.#fd, this.#buffer, 0);
    return size === undefined ? undefined : this.#buffer.subarray(0, size);
  }

  [Symbol.dispose](): void {
    closeSync(this.#fd);
  }
}

/** A struct sockaddr_ll. */
function sockaddr(protocol: number, dev: number, mac?: Mac): Buffer {
  const address = Buffer.alloc(SOCKADDR_LL);
  address.writeUInt16LE(AF_PACKET, 0);
  address.writeUInt16BE(protocol, 2);
  address.writeInt32LE(dev, 4);
  if (mac !== undefined) {
    address[11] = 6;
    address.set(macToBytes(mac), 12);
  }
  return address;
}
