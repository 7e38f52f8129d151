import { closeSync } from 'node:fs';
import { linkGet } from '../../src/linux/link/link.ts';
import { NETLINK_ROUTE, NetlinkSocket } from '../../src/linux/netlink/socket.ts';
import { withNetns } from '../../src/linux/netns.ts';
import * as sys from '../../src/linux/sys.ts';

const AF_PACKET = 17;
const ETH_P_ALL = 0x0003;

/** A raw socket on one interface: sends frames as they are, and sees all that arrive. */
export class Wire implements Disposable {
  readonly #fd: number;
  readonly #address: Buffer;

  constructor(netns: string, dev: string) {
    using netlink = NetlinkSocket.open(NETLINK_ROUTE, { netns });
    const { index } = netlink.getSync(linkGet(dev));
    const type = sys.SOCK_RAW | sys.SOCK_NONBLOCK | sys.SOCK_CLOEXEC;
    const fd = withNetns(netns, () => sys.socket(AF_PACKET, type, ETH_P_ALL << 8));
    this.#fd = fd;
    // struct sockaddr_ll
    this.#address = Buffer.alloc(20);
    this.#address.writeUInt16LE(AF_PACKET, 0);
    this.#address.writeUInt16BE(ETH_P_ALL, 2);
    this.#address.writeInt32LE(index, 4);
    sys.bind(fd, this.#address);
  }

  send(frame: Uint8Array): void {
    sys.sendto(this.#fd, frame, 0, this.#address);
  }

  /** The frames since the last call; not those that this namespace sent. */
  received(): Buffer[] {
    const PACKET_OUTGOING = 4;
    const frames: Buffer[] = [];
    const data = Buffer.alloc(65536);
    const from = Buffer.alloc(20);
    for (;;) {
      const size = sys.recvfrom(this.#fd, data, 0, from);
      if (size === undefined) return frames;
      if (from[10] !== PACKET_OUTGOING) frames.push(Buffer.from(data.subarray(0, size)));
    }
  }

  [Symbol.dispose](): void {
    closeSync(this.#fd);
  }
}
