import { type Ip, ipFromBytes, ipToBytes } from '../../ip/address.ts';
import { type Mac, macFromBytes, macToBytes } from '../../ip/mac.ts';
import { UNSPECIFIED } from './packet.ts';

const SIZE = 28;
const ETHERNET = 1;
const IPV4 = 0x0800;
const REQUEST = 1;

/** Who says what by a packet of ARP: its sender, and the address that it is about. */
type Arp = { readonly mac: Mac; readonly sender: Ip; readonly target: Ip };

/** Asks who has an address, without claiming one (RFC 5227 §2.1.1). */
export function encodeProbe(mac: Mac, target: Ip): Buffer {
  const packet = Buffer.alloc(SIZE);
  packet.writeUInt16BE(ETHERNET, 0);
  packet.writeUInt16BE(IPV4, 2);
  packet.set([6, 4], 4);
  packet.writeUInt16BE(REQUEST, 6);
  packet.set(macToBytes(mac), 8);
  packet.set(ipToBytes(target), 24);
  return packet;
}

/** Undefined for anything but ARP for IPv4 over Ethernet. */
export function decodeArp(packet: Buffer): Arp | undefined {
  if (packet.length < SIZE || packet.readUInt16BE(0) !== ETHERNET || packet.readUInt16BE(2) !== IPV4)
    return undefined;
  if (packet[4] !== 6 || packet[5] !== 4) return undefined;
  return {
    mac: macFromBytes(packet.subarray(8, 14)),
    sender: ipFromBytes(packet.subarray(14, 18)),
    target: ipFromBytes(packet.subarray(24, 28)),
  };
}

/** Whether its sender has an address, or is about to take it. */
export function claims({ sender, target }: Arp, ip: Ip): boolean {
  return sender === ip || (sender === UNSPECIFIED && target === ip);
}
