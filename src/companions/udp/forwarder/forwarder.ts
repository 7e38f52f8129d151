import { closeSync } from 'node:fs';
import { FAMILIES, type Family, ipFromBytes } from '../../../ip/address.ts';
import { Messages, Train } from '../../../linux/messages.ts';
import { SOCKADDR_IP, sockaddr } from '../../../linux/sockaddr.ts';
import * as sys from '../../../linux/sys.ts';
import { openTun } from '../../../linux/tun.ts';
import { Memory } from '../packets/checksum.ts';
import { icmpError, type Reason } from '../packets/icmp-error.ts';
import { Joiner } from '../packets/joiner.ts';
import { Packet } from '../packets/packet.ts';
import { type Segments, writeSegments } from '../packets/segments.ts';
import { readVnetHeader, VNET_HEADER } from '../packets/vnet-header.ts';
import { ofFamily, type UdpSettings } from '../settings.ts';
import { Counters } from './counters.ts';
import { openRawSocket } from './raw-socket.ts';
import { Table } from './table.ts';
import { openUnderlaySocket } from './underlay-socket.ts';

/** Packets of one side before it is the other's turn. */
const BURST = 64;
/** Bursts that are carried before a socket is closed: in a flood there are always more. */
const ROUNDS = 1000;
/** Messages in one call. */
const MESSAGES = 16;
/** Bytes of the largest packet, and where it begins in memory: its TCP payload is aligned then. */
const LONGEST = 65535;
const START = 12;
/** What UDP_SEGMENT takes (UDP_MAX_SEGMENTS), and bytes of a datagram's largest payload. */
const MOST_SEGMENTS = 64;
const MOST_BYTES = 65_507;
/** Errors that are told a second, however many packets cause them (RFC 1812 §4.3.2.8). */
const ERRORS_A_SECOND = 100;
/** The device was deleted. */
const EBADFD = 77;
const EAGAIN = 11;
/** The interface cannot send trains. */
const EIO = 5;
/**
 * The datagrams of a train must fit the underlay, as only others are fragmented; its MTU has become smaller.
 */
const TOO_LARGE: readonly number[] = [22, 90];

/** The device's descriptor, and the socket of each family. */
export type Held = { readonly [Name in 'tun' | Family]?: number | undefined };

/**
 * Carries packets between the TUN device and the other nodes, one by one or in trains. Every packet on the
 * wire is one UDP datagram that holds it and nothing else, as in flannel's udp backend.
 */
export class Forwarder implements Disposable {
  readonly counters = new Counters();
  #settings: UdpSettings;
  #table: Table;
  #tun: number;
  #sockets: Record<Family, number | undefined> = { 4: undefined, 6: undefined };
  /** For errors to senders: the kernel takes no packets with an address of its own from a device. */
  readonly #raw = { 4: openRawSocket(4), 6: openRawSocket(6) };
  readonly #memory = new Memory(Buffer.allocUnsafeSlow(START + LONGEST + 1));
  /** From the vnet header on. */
  readonly #fromTun = this.#memory.bytes.subarray(START - VNET_HEADER);
  readonly #segmented = new Memory(Buffer.allocUnsafeSlow(4 * LONGEST + 4));
  readonly #train = new Train(this.#segmented.bytes);
  readonly #segments: Segments = { count: 0, size: 0, lastSize: 0 };
  readonly #vnet = { flags: 0, gsoType: 0, gsoSize: 0, csumStart: 0, csumOffset: 0 };
  readonly #messages = new Messages(MESSAGES, LONGEST + 1);
  readonly #received = new Memory(this.#messages.data);
  readonly #packet = new Packet();
  readonly #joiner = new Joiner((bytes, from, to) => this.#writeTun(bytes, from, to));
  #canSegment = true;
  #errorsLeft = ERRORS_A_SECOND;
  #errorsSince = 0;

  /** `held`: what a former forwarder has given. */
  constructor(settings: UdpSettings, held: Held = {}) {
    this.#settings = settings;
    this.#table = new Table(settings);
    this.#tun = held.tun ?? openTun(settings.device);
    this.#sockets = { 4: held[4], 6: held[6] };
    try {
      this.#renewSockets();
    } catch (error) {
      this[Symbol.dispose]();
      throw error;
    }
  }

  /** The descriptors to wait for. */
  get descriptors(): readonly number[] {
    return [this.#tun, this.#sockets[4] ?? [], this.#sockets[6] ?? []].flat();
  }

  /** What another one may take. */
  get held(): Held {
    return { tun: this.#tun, ...this.#sockets };
  }

  /**
   * Applies new settings; the device stays. Throws if an address cannot be bound: this process is to end
   * then.
   */
  change(settings: UdpSettings): void {
    this.#settings = settings;
    this.#table = new Table(settings);
    this.#renewSockets();
  }

  /** Carries what is there, at most a burst from each side; returns whether there may be more. */
  turn(): boolean {
    let isMore = this.#send();
    for (const family of FAMILIES) {
      const fd = this.#sockets[family];
      if (fd !== undefined && this.#receive(fd, family)) isMore = true;
    }
    return isMore;
  }

  [Symbol.dispose](): void {
    for (const fd of [...this.descriptors, ...Object.values(this.#raw)]) if (fd !== undefined) closeSync(fd);
    this.#sockets = { 4: undefined, 6: undefined };
  }

  /**
   * Moves to the settings' addresses. What has come to the former ones is carried: as nobody sends there any
   * more, nothing is lost.
   */
  #renewSockets(): void {
    const { local, port } = this.#settings;
    for (const family of FAMILIES) {
      const ip = ofFamily(local, family);
      const former = this.#sockets[family];
      if (former !== undefined && ip !== undefined && sys.getsockname(former).equals(sockaddr(ip, port)))
        continue;
      this.#sockets[family] = ip === undefined ? undefined : openUnderlaySocket(ip, port);
      if (former === undefined) continue;
      for (let round = 0; round < ROUNDS && this.#receive(former, family); round++);
      closeSync(former);
    }
  }

  #send(): boolean {
    for (let i = 0; i < BURST; i++) {
      const count = sys.readOr(this.#tun, this.#fromTun, this.#fromTun.length);
      if (count === -EBADFD) this.#reopen();
      if (count <= VNET_HEADER) return false;
      this.#sendPacket(START + count - VNET_HEADER);
    }
    return true;
  }

  #sendPacket(end: number): void {
    const packet = this.#packet;
    const { bytes } = this.#memory;
    // IPv6 without a destination of its own, such as router solicitations, is none of ours.
    if (!packet.read(bytes, START, end)) return void this.counters.malformed++;
    const destination = this.#table.lookup(bytes, packet.destination, packet.family);
    if (!destination) {
      this.counters.unroutable++;
      if (!isMulticast(packet)) this.#refuse('no route');
      return;
    }
    if (packet.ttl <= 1) {
      this.counters.expired++;
      this.#refuse('ttl exceeded');
      return;
    }
    const fd = this.#sockets[destination.family];
    if (fd === undefined) return void this.counters.unroutable++;
    packet.decrementTtl();
    readVnetHeader(bytes, START - VNET_HEADER, this.#vnet);
    if (!writeSegments(packet, this.#memory, this.#vnet, this.#segmented, this.#segments))
      return void this.counters.malformed++;
    this.#sendSegments(fd, destination.sockaddr);
  }

  #sendSegments(fd: number, to: Buffer): void {
    const { count, size, lastSize } = this.#segments;
    const most = this.#canSegment ? Math.max(1, Math.min(MOST_SEGMENTS, Math.floor(MOST_BYTES / size))) : 1;
    for (let sent = 0; sent < count; sent += most) {
      const number = Math.min(most, count - sent);
      const isLast = sent + number === count;
      const length = (number - 1) * size + (isLast ? lastSize : size);
      const result = this.#train.send(fd, to, sent * size, length, size);
      if (result >= 0) this.counters.sent += number;
      else if (number > 1 && (result === -EIO || TOO_LARGE.includes(-result))) {
        if (result === -EIO) this.#canSegment = false;
        for (let i = 0; i < number; i++) this.#sendSegment(fd, to, sent + i);
      } else this.counters.failed += number;
    }
  }

  #sendSegment(fd: number, to: Buffer, i: number): void {
    const { count, size, lastSize } = this.#segments;
    const length = i === count - 1 ? lastSize : size;
    const result = this.#train.send(fd, to, i * size, length, length);
    this.counters[result >= 0 ? 'sent' : 'failed']++;
  }

  #receive(fd: number, family: Family): boolean {
    let count: number;
    try {
      count = this.#messages.receive(fd);
    } catch {
      // An error that the underlay has reported: the socket goes on.
      return false;
    }
    const { size, names, nameSize } = this.#messages;
    for (let i = 0; i < count; i++) {
      const length = this.#messages.lengthOf(i);
      const segment = Math.max(this.#messages.segmentOf(i), 1);
      if (!this.#table.isSender(names, i * nameSize + SOCKADDR_IP[family], family)) {
        this.counters.strangers += Math.ceil(length / segment) || 1;
        continue;
      }
      for (let at = 0; at < length; at += segment)
        this.#take(i * size + at, i * size + Math.min(at + segment, length));
    }
    this.#joiner.flush();
    return count === MESSAGES;
  }

  /** Takes one datagram. */
  #take(start: number, end: number): void {
    const packet = this.#packet;
    // A segment may begin at any byte; sums need an even one.
    if (!packet.read(this.#received.bytes, start, end) || packet.end !== end) {
      this.counters.malformed++;
      return;
    }
    this.counters.received++;
    this.#joiner.add(packet, this.#received);
  }

  #writeTun(bytes: Buffer, from: number, to: number): void {
    const result = sys.writeOr(this.#tun, from === 0 ? bytes : bytes.subarray(from, to), to - from);
    if (result === -EBADFD) this.#reopen();
    if (result < 0) this.counters[result === -EAGAIN ? 'failed' : 'malformed']++;
  }

  /** Tells the sender, unless many were told already. */
  #refuse(reason: Reason): void {
    const packet = this.#packet;
    const router = ofFamily(this.#settings.router, packet.family);
    const raw = this.#raw[packet.family];
    if (router === undefined || raw === undefined || packet.isLaterFragment || packet.isIcmpError) return;
    const now = performance.now();
    if (now - this.#errorsSince >= 1000) {
      this.#errorsSince = now;
      this.#errorsLeft = ERRORS_A_SECOND;
    }
    if (this.#errorsLeft-- <= 0) return;
    const { bytes, source, family } = packet;
    const sender = ipFromBytes(bytes.subarray(source, source + (family === 4 ? 4 : 16)));
    try {
      sys.sendto(raw, icmpError(packet, reason, router), 0, sockaddr(sender));
    } catch {
      this.counters.failed++;
    }
  }

  /** Somebody has deleted the device: the agent sets up the new one. */
  #reopen(): void {
    const former = this.#tun;
    this.#tun = openTun(this.#settings.device);
    closeSync(former);
  }
}

function isMulticast({ bytes, destination, family }: Packet): boolean {
  const first = bytes[destination] ?? 0;
  return family === 4 ? first >= 224 : first === 0xff;
}
