import { type Ip, ipToBytes } from '../../../ip/address.ts';
import { Assembler } from '../../../linux/bpf/assembler.ts';
import {
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
  SKB,
  saveCount,
  swapped,
  UDP_HEADER,
  VERDICTS,
} from './kernel.ts';

/** Bytes of all headers that are looked at. */
const HEADERS = ETHERNET_HEADER + OUTER + IPV4_HEADER;
/** To this host, as opposed to broadcasts and other machines' packets. */
const PACKET_HOST = 0;
/** More fragments, and the offset of this one. */
const FRAGMENT = 0x3fff;
/** bpf_redirect: as if the device had received it. */
const RECEIVED = 1;
/** Bytes of the stack, below its end. */
const STACK = { mtu: -4, key: -8, count: -12, counter: -16 } as const;

export type IngressSettings = {
  /** Of this node on the underlay. */
  readonly local: Ip;
  readonly port: number;
  /** The TUN device's interface index. */
  readonly device: number;
  /** Addresses that nodes send from. */
  readonly senders: { readonly fd: number };
  /** How many packets were carried, under the key 0. */
  readonly counter: { readonly fd: number };
};

/**
 * The program for what the underlay, an Ethernet, receives: unpacks a datagram of another node's program and
 * lets the TUN device receive what it holds, as if the forwarder had written it. Everything else is the
 * kernel's: what has a UDP checksum, is a fragment or is in doubt goes to the forwarder's socket.
 */
export function ingressProgram({ local, port, device, senders, counter }: IngressSettings): Buffer {
  const ip = ETHERNET_HEADER;
  const udp = ip + IPV4_HEADER;
  const inner = ip + OUTER;
  const a = new Assembler();
  a.move('r6', 'r1')
    .load('r1', 'r6', SKB.protocol, 32)
    .jumpIf('r1', '!=', ETH_P_IP, 'next')
    .load('r9', 'r6', SKB.length, 32)
    .jumpIf('r9', '<', HEADERS, 'next')
    .load('r1', 'r6', SKB.isTagged, 32)
    .jumpIf('r1', '!=', 0, 'next')
    .load('r1', 'r6', SKB.kind, 32)
    .jumpIf('r1', '!=', PACKET_HOST, 'next');
  dataOf(a, 'isLinear');
  // Some drivers leave everything in pages.
  a.move('r1', 'r6').move('r2', HEADERS).call(HELPERS.pull).jumpIf('r0', '!=', 0, 'next');
  dataOf(a, 'isLinear');
  a.jump('next')
    .label('isLinear')
    .load('r1', 'r7', ip, 8)
    .jumpIf('r1', '!=', 0x45, 'next')
    .load('r1', 'r7', ip + 9, 8)
    .jumpIf('r1', '!=', PROTOCOLS.udp, 'next')
    .load('r1', 'r7', ip + 16, 32)
    .jumpIf('r1', '!=', Buffer.from(ipToBytes(local)).readInt32LE(), 'next')
    .load('r1', 'r7', udp + 2, 16)
    .jumpIf('r1', '!=', swapped(port), 'next')
    .load('r1', 'r7', udp + 6, 16)
    .jumpIf('r1', '!=', 0, 'next')
    .load('r1', 'r7', ip + 6, 16)
    .jumpIf('r1', '&', swapped(FRAGMENT), 'next')
    // Both lengths must be that of what is there.
    .compute('r9', '-', ETHERNET_HEADER)
    .load('r1', 'r7', ip + 2, 16)
    .swap('r1', 16)
    .jumpIf('r1', '!=', 'r9', 'next')
    .compute('r9', '-', IPV4_HEADER)
    .load('r1', 'r7', udp + 4, 16)
    .swap('r1', 16)
    .jumpIf('r1', '!=', 'r9', 'next')
    .compute('r9', '-', UDP_HEADER);
  checkIpv4(a, inner, 'r9', 'next');
  checkSum(a, ip);
  a.load('r1', 'r7', ip + 12, 32)
    .store('r10', STACK.key, 'r1', 32)
    // Of what is to be cut, only TCP.
    .load('r1', 'r7', inner + 9, 8)
    .load('r8', 'r6', SKB.segmentSize, 32)
    .jumpIf('r8', '==', 0, 'mayBeUnpacked')
    .jumpIf('r1', '!=', PROTOCOLS.tcp, 'next')
    .label('mayBeUnpacked')
    .map('r1', senders)
    .move('r2', 'r10')
    .compute('r2', '+', STACK.key)
    .call(HELPERS.lookup)
    .jumpIfPointer('r0', '==', 0, 'next')
    .jumpIf('r8', '!=', 0, 'fits')
    // The kernel would drop what is too large for the device without a word.
    .store('r10', STACK.mtu, 'r9', 32)
    .move('r1', 'r6')
    .move('r2', device)
    .move('r3', 'r10')
    .compute('r3', '+', STACK.mtu)
    .move('r4', 0)
    .move('r5', 0)
    .call(HELPERS.checkMtu)
    .jumpIf('r0', '!=', 0, 'next')
    .label('fits');
  saveCount(a, STACK.count);
  a.move('r1', 'r6')
    .move('r2', -OUTER)
    .move('r3', ROOM.atMac)
    .move('r4', ROOM.sameSegments)
    .move('r5', 0)
    .call(HELPERS.adjustRoom)
    .jumpIf('r0', '!=', 0, 'next')
    .store('r6', SKB.mark, 0, 32)
    // It was that of the nodes' addresses: all pods' packets would take one queue.
    .move('r1', 'r6')
    .call(HELPERS.forgetHash);
  addToCounter(a, counter, STACK.counter, STACK.count);
  a.move('r1', device)
    .move('r2', RECEIVED)
    .call(HELPERS.redirect)
    .exit()
    .label('next')
    .move('r0', VERDICTS.next)
    .exit();
  return a.assemble();
}

/** r7 = the packet; continues at the label if all headers can be read there. */
function dataOf(a: Assembler, label: string): void {
  a.load('r7', 'r6', SKB.data, 32)
    .load('r2', 'r6', SKB.dataEnd, 32)
    .move('r1', 'r7')
    .compute('r1', '+', HEADERS)
    .jumpIfPointer('r1', '<=', 'r2', label);
}

/** The outer header's checksum must be right. */
function checkSum(a: Assembler, at: number): void {
  a.move('r1', 0);
  for (let word = 0; word < IPV4_HEADER; word += 4)
    a.load('r2', 'r7', at + word, 32).compute('r1', '+', 'r2');
  fold(a, 'r1', 'r2');
  a.jumpIf('r1', '!=', 0xffff, 'next');
}
