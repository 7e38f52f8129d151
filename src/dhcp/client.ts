import { randomInt } from 'node:crypto';
import { pause } from '../async/pause.ts';
import { FlatnetError } from '../error.ts';
import { type Ip, ipToBytes } from '../ip/address.ts';
import { addressOf } from '../ip/cidr.ts';
import type { Mac } from '../ip/mac.ts';
import { ETH_P_IP, PacketSocket } from '../linux/packet.ts';
import { UdpSocket } from '../linux/udp.ts';
import { now } from './clock.ts';
import { type Lease, type LeaseRules, leaseOf } from './protocol/lease.ts';
import {
  addressIn,
  CLIENT_PORT,
  type ClientMessage,
  clientIdOption,
  decode,
  encode,
  type Message,
  numberOption,
  OPTION,
  SERVER_PORT,
  TYPE,
  typeOf,
} from './protocol/message.ts';
import { decodeDatagram, EVERYBODY, encodeDatagram, UNSPECIFIED } from './protocol/packet.ts';

/** The interface that a client is for. `netns`: the path or descriptor of its namespace. */
export type ClientPlace = {
  readonly netns: string | number;
  readonly dev: number;
  readonly mac: Mac;
  /** Tells clients apart, also those that share a MAC; the same for as long as a lease is kept. */
  readonly id: string;
};

/** Milliseconds to wait for answers to each try. An ADD must end within 30 s. */
const DISCOVERY = [1500, 3000, 4000, 5000];
const REQUEST = [1500, 3000, 3000];
/** Milliseconds between looks at the socket. */
const POLL = 10;
/** Messages read at each look: whoever floods the network keeps the agent from nothing else. */
const MOST_AT_ONCE = 32;
const NOTHING = Buffer.alloc(0);

type Options = ClientMessage['options'];

/** What came of a request: a lease, or that the server refuses it for good. */
export type Confirmation = Lease | 'refused';

/** A client of DHCP (RFC 2131) for one interface. Each method is one exchange. */
export class DhcpClient {
  readonly #place: ClientPlace;
  readonly #rules: LeaseRules;
  readonly #patience: number;

  /** `patience`: how much longer than usual to wait for answers. */
  constructor(place: ClientPlace, rules: LeaseRules, patience = 1) {
    this.#place = place;
    this.#rules = rules;
    this.#patience = patience;
  }

  /** Asks for an address. Throws TIMEOUT if no server gives one that can be used, saying why. */
  async acquire(signal?: AbortSignal): Promise<Lease> {
    const begun = now();
    const refused = new Set<string>();
    using socket = this.#open();
    const discover = this.#exchange(TYPE.discover, []);
    const offer = await this.#ask(socket, discover, DISCOVERY, signal, (reply) => {
      if (typeOf(reply) !== TYPE.offer) return undefined;
      const read = leaseOf(reply, begun, this.#rules);
      if (typeof read !== 'string') return read;
      refused.add(read);
      return undefined;
    });
    if (!offer) throw noAddress([...refused]);
    const since = now();
    const ip = addressOf(offer.address);
    const options: Options = [
      [OPTION.requestedAddress, ipToBytes(ip)],
      [OPTION.server, ipToBytes(offer.server)],
    ];
    // With the transaction of the offer, by which a server recognizes it.
    const request = { ...discover, options: this.#options(TYPE.request, options) };
    const answer = await this.#ask(socket, request, REQUEST, signal, (reply) =>
      this.#confirmation(reply, since, ip, offer.server),
    );
    if (answer === undefined) throw noAddress([`${offer.server} did not confirm ${ip}`]);
    if (answer === 'refused') throw noAddress([`${offer.server} took back its offer of ${ip}`]);
    return answer;
  }

  /** Asks the lease's server for more time. Undefined if it does not answer. */
  async renew({ address, server }: Lease, signal?: AbortSignal): Promise<Confirmation | undefined> {
    const ip = addressOf(address);
    const since = now();
    using udp = UdpSocket.open(this.#place.netns, { ip, port: CLIENT_PORT });
    // A refusal is broadcast (RFC 2131 §4.3.2), which a socket with an address of its own does not receive.
    using all = this.#open(ip);
    const socket = {
      send: (message: Buffer) => udp.send(message, { ip: server, port: SERVER_PORT }),
      receive: () => udp.receive() ?? all.receive(),
    };
    const request = { ...this.#exchange(TYPE.request, []), client: ip };
    return await this.#ask(socket, request, REQUEST, signal, (reply) =>
      this.#confirmation(reply, since, ip, server),
    );
  }

  /** Asks any server for more time. Undefined if none answers. */
  async rebind({ address }: Lease, signal?: AbortSignal): Promise<Confirmation | undefined> {
    const ip = addressOf(address);
    const since = now();
    using socket = this.#open(ip);
    const request = { ...this.#exchange(TYPE.request, []), client: ip };
    return await this.#ask(socket, request, REQUEST, signal, (reply) => this.#confirmation(reply, since, ip));
  }

  /** Asks any server for an address that the pod had. Undefined if none answers. */
  async confirm(ip: Ip, signal?: AbortSignal): Promise<Confirmation | undefined> {
    const since = now();
    using socket = this.#open();
    const request = this.#exchange(TYPE.request, [[OPTION.requestedAddress, ipToBytes(ip)]]);
    return await this.#ask(socket, request, REQUEST, signal, (reply) => this.#confirmation(reply, since, ip));
  }

  /** An answer to a request for this address; only from that server, if it is known. */
  #confirmation(reply: Message, since: number, ip: Ip, server?: Ip): Confirmation | undefined {
    if (server !== undefined && addressIn(reply, OPTION.server) !== server) return undefined;
    if (typeOf(reply) === TYPE.nak) return 'refused';
    if (typeOf(reply) !== TYPE.ack || reply.your !== ip) return undefined;
    const lease = leaseOf(reply, since, this.#rules);
    return typeof lease === 'string' ? undefined : lease;
  }

  #exchange(type: number, options: Options): ClientMessage {
    return { xid: randomInt(2 ** 32), mac: this.#place.mac, options: this.#options(type, options) };
  }

  #options(type: number, options: Options): Options {
    const { mask, router, dns, domain, leaseTime, renewalTime, rebindingTime } = OPTION;
    return [
      [OPTION.type, numberOption(type, 1)],
      [OPTION.clientId, clientIdOption(this.#place.id)],
      ...options,
      [OPTION.maxSize, numberOption(1472, 2)],
      [OPTION.parameters, Buffer.from([mask, router, dns, domain, leaseTime, renewalTime, rebindingTime])],
    ];
  }

  /** For messages to everybody, from the pod's address if it has one. */
  #open(from = UNSPECIFIED): Exchange {
    const { netns, dev } = this.#place;
    const ports = { from: SERVER_PORT, to: CLIENT_PORT };
    const socket = PacketSocket.open({ netns, dev, protocol: ETH_P_IP, udp: ports });
    return {
      send: (payload) =>
        socket.send(
          encodeDatagram({ from, fromPort: CLIENT_PORT, to: EVERYBODY, toPort: SERVER_PORT, payload }),
        ),
      receive: () => {
        const packet = socket.receive();
        return packet && (decodeDatagram(packet)?.payload ?? NOTHING);
      },
      [Symbol.dispose]: () => socket[Symbol.dispose](),
    };
  }

  /** Sends a message until `accept` returns something for a reply to it. Rejects if the signal aborts. */
  async #ask<T>(
    socket: Pick<Exchange, 'send' | 'receive'>,
    message: ClientMessage,
    waits: readonly number[],
    signal: AbortSignal | undefined,
    accept: (reply: Message) => T | undefined,
  ): Promise<T | undefined> {
    const begun = performance.now();
    for (const wait of waits) {
      const sent = performance.now();
      socket.send(encode({ ...message, seconds: Math.floor((sent - begun) / 1000) }));
      for (const end = sent + wait * this.#patience; performance.now() < end; await pause(POLL, signal)) {
        signal?.throwIfAborted();
        for (let i = 0; i < MOST_AT_ONCE; i++) {
          const bytes = socket.receive();
          if (!bytes) break;
          // The buffer is overwritten by the next one.
          const reply = decode(Buffer.from(bytes));
          const isOurs = reply?.isReply && reply.xid === message.xid && reply.mac === message.mac;
          const accepted = isOurs ? accept(reply) : undefined;
          if (accepted !== undefined) return accepted;
        }
      }
    }
    return undefined;
  }
}

/** Where messages are sent and received. */
type Exchange = Disposable & {
  send(message: Buffer): void;
  /** The next message, which may be empty; undefined if none is queued. */
  receive(): Buffer | undefined;
};

/** No server gives an address that can be used, for these reasons. */
export function noAddress(reasons: readonly string[]): FlatnetError {
  return new FlatnetError(
    reasons.length > 0
      ? `no server gives an address: ${reasons.slice(0, 3).join('; ')}`
      : 'no server answers',
    { code: 'TIMEOUT', operation: 'DHCP', fix: 'check the server, and that it serves the parent’s network' },
  );
}
