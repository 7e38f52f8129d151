import fs from 'node:fs';
import { familyOf, type Ip } from '../ip/address.ts';
import type { Mac } from '../ip/mac.ts';
import { macToBytes } from '../ip/mac.ts';
import { addressFamily } from './netlink/family.ts';
import { sockaddr } from './sockaddr.ts';
import * as sys from './sys.ts';

const SOCK_DGRAM = 2;
const AF_PACKET = 17;
const ETH_P_IP = 0x0800;
const ETH_P_IPV6 = 0x86dd;
/** struct sockaddr_ll of linux/if_packet.h. */
const SOCKADDR_LL_SIZE = 20;

/**
 * Sends one UDP datagram from a port of the kernel's choice. Throws SYSCALL: EPERM where this host's own
 * firewall drops it.
 */
export function sendDatagram(to: Ip, port: number, data: Uint8Array): void {
  send(addressFamily(familyOf(to)), SOCK_DGRAM, 0, data, sockaddr(to, port));
}

/** Sends one IP packet of any protocol, with `data` after the IP header. Throws SYSCALL, likewise. */
export function sendPacket(to: Ip, protocol: number, data: Uint8Array): void {
  send(addressFamily(familyOf(to)), sys.SOCK_RAW, protocol, data, sockaddr(to));
}

/**
 * Sends a complete IP packet to the station with that MAC, past routes and firewalls of this host. `dev`: an
 * interface index. Throws SYSCALL.
 */
export function sendFrame(dev: number, mac: Mac, packet: Uint8Array): void {
  const isIpv6 = ((packet[0] ?? 0) & 0xf0) === 0x60;
  const address = Buffer.alloc(SOCKADDR_LL_SIZE);
  address.writeUInt16LE(AF_PACKET, 0);
  address.writeUInt16BE(isIpv6 ? ETH_P_IPV6 : ETH_P_IP, 2);
  address.writeInt32LE(dev, 4);
  address.writeUInt8(6, 11);
  address.set(macToBytes(mac), 12);
  // Protocol 0: it receives nothing.
  send(AF_PACKET, SOCK_DGRAM, 0, packet, address);
}

function send(domain: number, type: number, protocol: number, data: Uint8Array, to: Uint8Array): void {
  const fd = sys.socket(domain, type | sys.SOCK_CLOEXEC | sys.SOCK_NONBLOCK, protocol);
  try {
    sys.sendto(fd, data, 0, to);
  } finally {
    fs.closeSync(fd);
  }
}
