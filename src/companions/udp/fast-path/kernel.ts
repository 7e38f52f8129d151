import type { Assembler } from '../../../linux/bpf/assembler.ts';

/** Where fields are in struct __sk_buff (linux/bpf.h). */
export const SKB = {
  length: 0,
  kind: 4,
  mark: 8,
  protocol: 16,
  isTagged: 20,
  data: 76,
  dataEnd: 80,
  segments: 164,
  segmentSize: 176,
} as const;

/** Numbers of the kernel's helpers. */
export const HELPERS = {
  lookup: 1,
  random: 7,
  redirect: 23,
  pull: 39,
  forgetHash: 41,
  addHead: 43,
  adjustRoom: 50,
  route: 69,
  redirectNeigh: 152,
  checkMtu: 163,
} as const;

/** Where fields are in struct bpf_fib_lookup (linux/bpf.h); ports and addresses in network byte order. */
export const ROUTE = {
  family: 0,
  protocol: 1,
  fromPort: 2,
  toPort: 4,
  length: 6,
  interface: 8,
  from: 16,
  to: 32,
  size: 64,
} as const;
export const AF_INET = 2;

/** What becomes of a packet: the next program's or the kernel's as if nothing had happened, or dropped. */
export const VERDICTS = { next: -1, drop: 2 } as const;

export const IPV4_HEADER = 20;
export const UDP_HEADER = 8;
/** What the backend puts before a packet. */
export const OUTER = IPV4_HEADER + UDP_HEADER;
export const ETHERNET_HEADER = 14;
export const TTL = 64;
export const PROTOCOLS = { tcp: 6, udp: 17 } as const;

/** In network byte order, as a little-endian processor reads it. */
export const swapped = (half: number): number => ((half & 0xff) << 8) | (half >> 8);
export const ETH_P_IP = swapped(0x0800);

/** bpf_skb_adjust_room at the MAC header: a packet stays cut into segments of the same size. */
export const ROOM = { atMac: 1, sameSegments: 1, outerIpv4: 2, outerUdp: 16 } as const;

/** Adds the number at `count` bytes of the stack to the one counter of the map, of this processor. */
export function addToCounter(a: Assembler, map: { readonly fd: number }, key: number, count: number): void {
  a.store('r10', key, 0, 32)
    .map('r1', map)
    .move('r2', 'r10')
    .compute('r2', '+', key)
    .call(HELPERS.lookup)
    .jumpIfPointer('r0', '==', 0, 'counted')
    .load('r1', 'r0', 0, 64)
    .load('r2', 'r10', count, 32)
    .compute('r1', '+', 'r2')
    .store('r0', 0, 'r1', 64)
    .label('counted');
}

/** Saves how many packets a packet stands for: the kernel does not always know. */
export function saveCount(a: Assembler, at: number): void {
  a.load('r1', 'r6', SKB.segments, 32)
    .jumpIf('r1', '!=', 0, 'isKnown')
    .move('r1', 1)
    .label('isKnown')
    .store('r10', at, 'r1', 32);
}

/**
 * Continues at `otherwise` unless an IPv4 packet at r7 is well-formed and ends where the `length` in a
 * register says.
 */
export function checkIpv4(a: Assembler, at: number, length: 'r9', otherwise: string): void {
  a.load('r1', 'r7', at, 8)
    .move('r2', 'r1')
    .compute('r2', '>>', 4)
    .jumpIf('r2', '!=', 4, otherwise)
    .compute('r1', '&', 15)
    .jumpIf('r1', '<', 5, otherwise)
    .compute('r1', '<<', 2)
    .load('r2', 'r7', at + 2, 16)
    .swap('r2', 16)
    .jumpIf('r2', '<', 'r1', otherwise)
    .jumpIf('r2', '!=', length, otherwise);
}

/** Folds the sum in a register, of fewer than 2^36, to 16 bits. */
export function fold(a: Assembler, sum: 'r1', other: 'r2'): void {
  for (let i = 0; i < 3; i++)
    a.move(other, sum).compute(other, '>>', 16).compute(sum, '&', 0xffff).compute(sum, '+', other);
}
