import { type Ip, ipToBytes } from '../../../ip/address.ts';
import { Assembler } from '../../../linux/bpf/assembler.ts';
import {
  AF_INET,
  addToCounter,
  checkIpv4,
  ETH_P_IP,
  ETHERNET_HEADER,
  fold,
  HELPERS,
  IPV4_HEADER,
  OUTER,
  PROTOCOLS,
  ROOM,
  ROUTE,
  SKB,
  saveCount,
  swapped,
  TTL,
  UDP_HEADER,
  VERDICTS,
} from './kernel.ts';

/** The longest packet that its length field can tell. */
const LONGEST = 65535;
/** bpf_check_mtu: look at each segment. */
const EACH_SEGMENT = 1;
/** Bytes of the stack, below its end. */
const STACK = { mtu: -4, key: -16, count: -20, counter: -24, route: -24 - ROUTE.size } as const;
/** Always the same, as is whatever a host sends by itself: it comes from this interface. */
const LOOPBACK = 1;
/** bpf_fib_lookup: the neighbour is found later. */
const SKIP_NEIGHBOUR = 4;
/** A struct bpf_redir_neigh: a family of 32 bits, and an address of either. */
const NEXT_HOP = { at: STACK.route + ROUTE.to - 4, size: 20 } as const;

export type EgressSettings = {
  /** Of this node on the underlay. */
  readonly local: Ip;
  readonly port: number;
  /** The underlay's interface index. */
  readonly underlay: number;
  /** Bytes before the IP header: none on a TUN device. */
  readonly linkHeader?: number;
  /** From subnets, as keys of a trie, to nodes' addresses; 0 for the forwarder's. */
  readonly routes: { readonly fd: number };
  /** How many packets were carried, under the key 0. */
  readonly counter: { readonly fd: number };
};

/**
 * The program for what leaves by the TUN device: puts an IPv4 packet for a known subnet into a datagram and
 * sends it by the underlay, as the forwarder would. Everything else is the forwarder's, also what the node's
 * routes and rules would send by another device, such as a VPN's.
 *
 * The outer packet has no UDP checksum (RFC 768 permits that), by which the other end's program knows that it
 * was sent by a kernel: nobody has to sum up the payload. A large TCP packet stays one until a device must
 * cut it.
 */
export function egressProgram(settings: EgressSettings): Buffer {
  const { local, port, underlay, linkHeader = 0, routes, counter } = settings;
  const a = new Assembler();
  a.move('r6', 'r1')
    .load('r1', 'r6', SKB.protocol, 32)
    .jumpIf('r1', '!=', ETH_P_IP, 'next')
    .load('r7', 'r6', SKB.data, 32)
    .load('r2', 'r6', SKB.dataEnd, 32)
    .move('r1', 'r7')
    .compute('r1', '+', linkHeader + IPV4_HEADER)
    .jumpIfPointer('r1', '>', 'r2', 'next')
    .load('r9', 'r6', SKB.length, 32)
    .compute('r9', '-', linkHeader);
  checkIpv4(a, linkHeader, 'r9', 'next');
  a.jumpIf('r9', '>', LONGEST - OUTER, 'next')
    .load('r1', 'r7', linkHeader + 8, 8)
    .jumpIf('r1', '<=', 1, 'next')
    // A trie's key: a length and an address.
    .load('r8', 'r7', linkHeader + 16, 32)
    .store('r10', STACK.key, 32, 32)
    .store('r10', STACK.key + 4, 'r8', 32)
    .map('r1', routes)
    .move('r2', 'r10')
    .compute('r2', '+', STACK.key)
    .call(HELPERS.lookup)
    .jumpIfPointer('r0', '==', 0, 'next')
    .load('r8', 'r0', 0, 32)
    .jumpIf('r8', '==', 0, 'next');
  for (let at = 0; at < ROUTE.size; at += 8) a.store('r10', STACK.route + at, 0, 64);
  checkSize(a, linkHeader);
  findRoute(a, local, port, underlay);
  saveCount(a, STACK.count);
  a.move('r1', 'r6')
    .move('r2', OUTER)
    .move('r3', ROOM.atMac)
    .move('r4', ROOM.sameSegments | ROOM.outerIpv4 | ROOM.outerUdp)
    .move('r5', 0)
    .call(HELPERS.adjustRoom)
    // Nothing has been changed.
    .jumpIf('r0', '!=', 0, 'next')
    // Marks are about the inner packet.
    .store('r6', SKB.mark, 0, 32)
    .move('r1', 'r6')
    .move('r2', ETHERNET_HEADER)
    .move('r3', 0)
    .call(HELPERS.addHead)
    .jumpIf('r0', '!=', 0, 'drop')
    .call(HELPERS.random)
    .move('r3', 'r0')
    .compute('r3', '&', 0xffff);
  const ip = ETHERNET_HEADER + linkHeader;
  a.load('r7', 'r6', SKB.data, 32)
    .load('r2', 'r6', SKB.dataEnd, 32)
    .move('r1', 'r7')
    .compute('r1', '+', ip + OUTER + IPV4_HEADER)
    .jumpIfPointer('r1', '>', 'r2', 'drop');
  writeOuter(a, ip, local, port);
  decrementTtl(a, ip + OUTER);
  addToCounter(a, counter, STACK.counter, STACK.count);
  a.move('r1', underlay)
    .move('r2', 'r10')
    .compute('r2', '+', NEXT_HOP.at)
    .move('r3', NEXT_HOP.size)
    .move('r4', 0)
    .call(HELPERS.redirectNeigh)
    .exit()
    .label('next')
    .move('r0', VERDICTS.next)
    .exit()
    .label('drop')
    .move('r0', VERDICTS.drop)
    .exit();
  return a.assemble();
}

/**
 * What is to be cut must fit the device, which allows for the outer headers; of that only TCP, as the kernel
 * mistakes other segments for tunnels' when they have been unpacked. The whole must fit its route.
 */
function checkSize(a: Assembler, linkHeader: number): void {
  a.move('r1', 'r9')
    .compute('r1', '+', OUTER)
    .store('r10', STACK.route + ROUTE.length, 'r1', 16)
    .load('r1', 'r6', SKB.segmentSize, 32)
    .jumpIf('r1', '==', 0, 'fits')
    .load('r1', 'r7', linkHeader + 9, 8)
    .jumpIf('r1', '!=', PROTOCOLS.tcp, 'next')
    .store('r10', STACK.route + ROUTE.length, 0, 16)
    .store('r10', STACK.mtu, 0, 32)
    .move('r1', 'r6')
    .move('r2', 0)
    .move('r3', 'r10')
    .compute('r3', '+', STACK.mtu)
    .move('r4', 0)
    .move('r5', EACH_SEGMENT)
    .call(HELPERS.checkMtu)
    .jumpIf('r0', '!=', 0, 'next')
    .label('fits');
}

/** Leaves the next hop to the node in r8 on the stack, if the underlay leads there. */
function findRoute(a: Assembler, local: Ip, port: number, underlay: number): void {
  const at = STACK.route;
  a.store('r10', at + ROUTE.family, AF_INET, 8)
    .store('r10', at + ROUTE.protocol, PROTOCOLS.udp, 8)
    .store('r10', at + ROUTE.fromPort, swapped(port), 16)
    .store('r10', at + ROUTE.toPort, swapped(port), 16)
    .store('r10', at + ROUTE.interface, LOOPBACK, 32)
    .store('r10', at + ROUTE.from, Buffer.from(ipToBytes(local)).readInt32LE(), 32)
    .store('r10', at + ROUTE.to, 'r8', 32)
    .move('r1', 'r6')
    .move('r2', 'r10')
    .compute('r2', '+', at)
    .move('r3', ROUTE.size)
    .move('r4', SKIP_NEIGHBOUR)
    .call(HELPERS.route)
    // No route, one that leads nowhere or into a tunnel of its own, or too small a path.
    .jumpIf('r0', '!=', 0, 'next')
    .load('r1', 'r10', at + ROUTE.interface, 32)
    .jumpIf('r1', '!=', underlay, 'next')
    .load('r1', 'r10', at + ROUTE.family, 8)
    .store('r10', NEXT_HOP.at, 'r1', 32);
}

/** To the node in r8, with the identification in r3; the inner packet's length is in r9. */
function writeOuter(a: Assembler, at: number, local: Ip, port: number): void {
  const source = Buffer.from(ipToBytes(local));
  const known = 0x4500 + (TTL << 8) + PROTOCOLS.udp + source.readUInt16BE(0) + source.readUInt16BE(2);
  a.move('r4', 'r9')
    .compute('r4', '+', OUTER)
    .move('r1', 'r8')
    .swap('r1', 32)
    .move('r2', 'r1')
    .compute('r1', '>>', 16)
    .compute('r2', '&', 0xffff)
    .compute('r1', '+', 'r2')
    .compute('r1', '+', 'r3')
    .compute('r1', '+', 'r4')
    .compute('r1', '+', known);
  fold(a, 'r1', 'r2');
  a.compute('r1', '^', 0xffff)
    .swap('r1', 16)
    .swap('r4', 16)
    .swap('r3', 16)
    .store('r7', at, swapped(0x4500), 16)
    .store('r7', at + 2, 'r4', 16)
    .store('r7', at + 4, 'r3', 16)
    // May be fragmented, as what the forwarder sends.
    .store('r7', at + 6, 0, 16)
    .store('r7', at + 8, TTL | (PROTOCOLS.udp << 8), 16)
    .store('r7', at + 10, 'r1', 16)
    .store('r7', at + 12, source.readInt32LE(), 32)
    .store('r7', at + 16, 'r8', 32)
    .move('r4', 'r9')
    .compute('r4', '+', UDP_HEADER)
    .swap('r4', 16)
    .store('r7', at + 20, swapped(port), 16)
    .store('r7', at + 22, swapped(port), 16)
    .store('r7', at + 24, 'r4', 16)
    .store('r7', at + 26, 0, 16);
}

/** The checksum follows (RFC 1141). */
function decrementTtl(a: Assembler, at: number): void {
  a.load('r1', 'r7', at + 8, 8)
    .compute('r1', '-', 1)
    .store('r7', at + 8, 'r1', 8)
    .load('r1', 'r7', at + 10, 16)
    .swap('r1', 16)
    .compute('r1', '+', 0x100)
    .move('r2', 'r1')
    .compute('r2', '>>', 16)
    .compute('r1', '+', 'r2')
    .swap('r1', 16)
    .store('r7', at + 10, 'r1', 16);
}
