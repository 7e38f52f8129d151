import { closeSync, openSync } from 'node:fs';
import * as sys from './sys.ts';

const TUNSETIFF = 0x400454ca;
const TUNSETPERSIST = 0x400454cb;
const TUNSETOFFLOAD = 0x400454d0;
const IFNAMSIZ = 16;
/** Bytes of struct ifreq. */
const IFREQ = 40;
const IFF_TUN = 0x0001;
const IFF_MULTI_QUEUE = 0x0100;
const IFF_NO_PI = 0x1000;
const IFF_VNET_HDR = 0x4000;
const TUN_F_CSUM = 0x01;
const TUN_F_TSO4 = 0x02;
const TUN_F_TSO6 = 0x04;
const TUN_F_USO4 = 0x20;
const TUN_F_USO6 = 0x40;

/**
 * Opens a queue of a TUN device, which is made if it is not there and then stays: like `ip tuntap add NAME
 * mode tun vnet_hdr multi_queue`. Each read returns a packet behind a vnet header, each write takes one. The
 * kernel leaves checksums to the reader, and large TCP packets uncut, from Linux 6.2 on UDP's too.
 *
 * Another queue may be opened while this one is; the kernel spreads flows over them. Returns the descriptor,
 * which does not block. ENOENT: the module `tun` is missing. EINVAL: a device of another kind has the name.
 */
export function openTun(name: string): number {
  const fd = openSync('/dev/net/tun', sys.O_RDWR | sys.O_NONBLOCK | sys.O_CLOEXEC);
  try {
    sys.ioctl(fd, TUNSETIFF, ifreq(name, IFF_TUN | IFF_NO_PI | IFF_VNET_HDR | IFF_MULTI_QUEUE));
    sys.ioctlValue(fd, TUNSETPERSIST, 1);
    const offloads = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6;
    try {
      sys.ioctlValue(fd, TUNSETOFFLOAD, offloads | TUN_F_USO4 | TUN_F_USO6);
    } catch {
      sys.ioctlValue(fd, TUNSETOFFLOAD, offloads);
    }
    return fd;
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

/** A struct ifreq with an interface's name and flags. */
function ifreq(name: string, flags: number): Buffer {
  const request = Buffer.alloc(IFREQ);
  request.write(name, 0, IFNAMSIZ - 1, 'latin1');
  request.writeUInt16LE(flags, IFNAMSIZ);
  return request;
}
