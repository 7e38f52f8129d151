import { randomInt } from 'node:crypto';
import fs from 'node:fs';
import { type Family, type Ip, ipFromBytes } from '../ip/address.ts';
import type { Mac } from '../ip/mac.ts';
import { sendFrame } from './datagram.ts';
import * as icmp from './icmp-message.ts';
import { AF_INET, AF_INET6 } from './netlink/family.ts';
import { withNetns } from './netns.ts';
import { sockaddr } from './sockaddr.ts';
import * as sys from './sys.ts';

const IPPROTO_ICMP = 1;
const IPPROTO_ICMPV6 = 58;
const IPPROTO_IP = 0;
const IPPROTO_IPV6 = 41;
const IPPROTO_RAW = 255;
const ICMP_FILTER = 1;
const ICMPV6_FILTER = 1;
const IP_MTU_DISCOVER = 10;
const IPV6_MTU_DISCOVER = 23;
const IPV6_DONTFRAG = 62;
const IP_TTL = 2;
const IPV6_UNICAST_HOPS = 16;
const IP_PMTUDISC_PROBE = 3;
const SO_RCVBUFFORCE = 33;
const RECEIVE_BUFFER = 1 << 20;
const LARGEST_PACKET = 65_536;
/** Messages skipped at once: whoever sends nonsense takes no more of our time. */
const MOST_UNREADABLE = 64;
/** Longest single wait in milliseconds: during it the process can neither exit nor handle a signal. */
const SLICE = 50;

export type { IcmpError, IcmpMessage } from './icmp-message.ts';

export type IcmpOptions = {
  readonly family: Family;
  /** A path or a descriptor of a network namespace; by default the thread's own. */
  readonly netns?: string | number | undefined;
  /**
   * Forbid fragmentation (and ignore the kernel's cached path MTU), so that `too-big` errors arrive.
   * Default: no.
   */
  readonly dontFragment?: boolean | undefined;
  /** An address of this host to send from; by default the kernel chooses. */
  readonly source?: Ip | undefined;
  /** Routers that a packet may pass, and one. Default: the kernel's. */
  readonly hops?: number | undefined;
  /** Receive no echo requests: others may send any number of them. Default: no. */
  readonly answersOnly?: boolean | undefined;
};

/**
 * A raw ICMP socket in a network namespace. It sends echo requests, and receives all echo requests, replies
 * and errors that reach the namespace, with their source addresses, including requests that the kernel
 * answers itself, unless it is opened for answers only.
 */
export class IcmpSocket implements Disposable {
  readonly family: Family;
  /** The identifier of our own echo requests. */
  readonly id = randomInt(1, 0x10000);
  readonly fd: number;
  #sequence = 0;
  #buffer = Buffer.allocUnsafeSlow(LARGEST_PACKET);
  #sender = Buffer.alloc(28);
  #closed = false;

  private constructor(family: Family, fd: number) {
    this.family = family;
    this.fd = fd;
  }

  /** Throws SYSCALL (EADDRNOTAVAIL: the source is not this host's), or NOT_FOUND without the namespace. */
  static open({ family, netns, dontFragment, source, hops, answersOnly = false }: IcmpOptions): IcmpSocket {
    const type = sys.SOCK_RAW | sys.SOCK_CLOEXEC | sys.SOCK_NONBLOCK;
    const create = (): number =>
      family === 4 ? sys.socket(AF_INET, type, IPPROTO_ICMP) : sys.socket(AF_INET6, type, IPPROTO_ICMPV6);
    const fd = netns === undefined ? create() : withNetns(netns, create);
    try {
      filter(fd, family, answersOnly);
      sys.setsockopt(fd, sys.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER);
      if (dontFragment && family === 4) sys.setsockopt(fd, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_PROBE);
      if (dontFragment && family === 6) {
        sys.setsockopt(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, IP_PMTUDISC_PROBE);
        sys.setsockopt(fd, IPPROTO_IPV6, IPV6_DONTFRAG, 1);
      }
      if (hops !== undefined && family === 4) sys.setsockopt(fd, IPPROTO_IP, IP_TTL, hops);
      if (hops !== undefined && family === 6) sys.setsockopt(fd, IPPROTO_IPV6, IPV6_UNICAST_HOPS, hops);
      if (source !== undefined) sys.bind(fd, sockaddr(source));
      return new IcmpSocket(family, fd);
    } catch (error) {
      fs.closeSync(fd);
      throw error;
    }
  }

  /**
   * Sends an echo request with `size` bytes after its header and returns its sequence number. Throws SYSCALL:
   * ENETUNREACH without a route, ENOBUFS (IPv6) without a carrier, EMSGSIZE if it exceeds the device's MTU
   * and must not be fragmented.
   */
  send(to: Ip, size = 56): number {
    this.#sequence = (this.#sequence + 1) & 0xffff;
    const packet = icmp.encodeEcho(this.family, this.id, this.#sequence, size);
    sys.sendto(this.fd, packet, 0, sockaddr(to));
    return this.#sequence;
  }

  /**
   * The same with a packet from `from` to `to` that goes straight to a station on a link, past this host's
   * routes. `dev`: an interface index. The answer may come back any way.
   */
  sendVia({ dev, mac }: { readonly dev: number; readonly mac: Mac }, from: Ip, to: Ip, size = 56): number {
    this.#sequence = (this.#sequence + 1) & 0xffff;
    sendFrame(dev, mac, icmp.encodeEchoPacket(from, to, this.id, this.#sequence, size));
    return this.#sequence;
  }

  /** Returns the next message, or undefined if none is queued, or nothing but what cannot be read. */
  receive(): icmp.IcmpMessage | undefined {
    for (let i = 0; i < MOST_UNREADABLE; i++) {
      const size = sys.recvfrom(this.fd, this.#buffer, sys.MSG_DONTWAIT, this.#sender);
      if (size === undefined) return undefined;
      // IPv4 raw sockets include the IP header, IPv6 ones do not.
      const start = this.family === 4 ? 4 * (this.#buffer.readUInt8(0) & 15) : 0;
      const from = ipFromBytes(
        this.family === 4 ? this.#sender.subarray(4, 8) : this.#sender.subarray(8, 24),
      );
      const message = icmp.decodeIcmp(this.family, from, this.#buffer.subarray(start, size));
      if (message) return message;
    }
    return undefined;
  }

  /** Idempotent. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    fs.closeSync(this.fd);
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/**
 * Resolves to the sockets that have messages, as soon as one does or after `timeout` milliseconds. Takes one
 * thread for all of them.
 */
export async function waitForMessages(
  sockets: readonly IcmpSocket[],
  timeout: number,
  signal?: AbortSignal,
): Promise<IcmpSocket[]> {
  const deadline = performance.now() + timeout;
  const fds = sockets.map(({ fd }) => fd);
  for (;;) {
    signal?.throwIfAborted();
    const left = deadline - performance.now();
    const ready = new Set(await sys.pollReadable(fds, Math.max(0, Math.min(SLICE, Math.ceil(left)))));
    if (ready.size > 0 || left <= 0) return sockets.filter(({ fd }) => ready.has(fd));
  }
}

/**
 * Lets through only what `receive` understands: IPv6 neighbour discovery would wake the socket all the time.
 */
function filter(fd: number, family: Family, answersOnly: boolean): void {
  const answers = [icmp.ECHO_REPLY, icmp.UNREACHABLE, icmp.TIME_EXCEEDED];
  const wanted = (answersOnly ? answers : [icmp.ECHO_REQUEST, ...answers]).map((type) => type[family]);
  if (family === 4) {
    const blocked = wanted.reduce((mask, type) => mask & ~(1 << type), ~0);
    sys.setsockopt(fd, IPPROTO_RAW, ICMP_FILTER, blocked);
  } else {
    const blocked = new Uint32Array(8).fill(0xffffffff);
    for (const type of [...wanted, icmp.PACKET_TOO_BIG, icmp.PARAMETER_PROBLEM])
      blocked[type >> 5] = (blocked[type >> 5] ?? 0) & ~(1 << (type & 31));
    sys.setsockopt(fd, IPPROTO_ICMPV6, ICMPV6_FILTER, new Uint8Array(blocked.buffer));
  }
}
