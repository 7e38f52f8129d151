import { FlatnetError } from '../../error.ts';
import { FAMILIES, type Family, type Ip } from '../../ip/address.ts';
import { type IcmpMessage, IcmpSocket, waitForMessages } from '../../linux/icmp.ts';
import { type Endpoint, ownAddresses } from './endpoint.ts';
import { errorText } from './ping.ts';

/** One ping of the matrix. */
export type Pair = {
  readonly from: string;
  readonly to: string;
  readonly family: Family;
  readonly reached: boolean;
  /** Round trip in milliseconds. */
  readonly rtt?: number;
  /** The source address that the target saw. */
  readonly source?: Ip;
  /** Whether that is one of the sender's own addresses: no NAT on the way. Undefined if nothing arrived. */
  readonly ownSource?: boolean;
  readonly error?: string;
};

/** Reached, and without NAT. */
export function isGood(pair: Pair): boolean {
  return pair.reached && pair.ownSource === true;
}

export type MatrixOptions = {
  /** Milliseconds to wait for a round's replies. */
  readonly timeout: number;
  readonly signal?: AbortSignal;
};

/**
 * The first round fills neighbour tables; the others measure and retry lost pings. A pair's best time
 * counts.
 */
const ROUNDS = 3;

/**
 * Pings from every sender to every other target in every family that both have, all from this process: a raw
 * socket in each namespace sends and observes what arrives there. Each ping has the wire to itself, so the
 * times contain no queueing.
 */
export async function matrix(
  senders: readonly Endpoint[],
  targets: readonly Endpoint[],
  options: MatrixOptions,
): Promise<Pair[]> {
  const pairs: Pair[] = [];
  const own = new Map<Endpoint, Set<Ip>>();
  for (const sender of senders) own.set(sender, await ownAddresses(sender));
  for (const family of FAMILIES) {
    using probe = new Probe(family);
    const tries: Try[] = [];
    for (const sender of senders) {
      for (const target of targets) {
        const to = target.addresses[family];
        if (sender.netns === target.netns || !to || !sender.addresses[family]) continue;
        tries.push({ sender, target, to, from: probe.socket(sender), at: probe.socket(target) });
      }
    }
    await probe.run(tries, options);
    for (const { sender, target, rtt, error, ...seen } of tries) {
      const source = seen.source ?? seen.strangeSource;
      const ownSource = source === undefined ? undefined : own.get(sender)?.has(source) === true;
      pairs.push({
        from: sender.name,
        to: target.name,
        family,
        reached: rtt !== undefined,
        ...(rtt === undefined ? {} : { rtt }),
        ...(source === undefined ? {} : { source }),
        ...(ownSource === undefined ? {} : { ownSource }),
        ...(rtt === undefined ? { error: error ?? 'no reply' } : {}),
      });
    }
  }
  return pairs;
}

/** A ping and its outcome so far. */
type Try = {
  readonly sender: Endpoint;
  readonly target: Endpoint;
  readonly to: Ip;
  readonly from: IcmpSocket;
  readonly at: IcmpSocket;
  sent?: bigint;
  answered?: boolean;
  rtt?: number;
  source?: Ip;
  /**
   * The source of an echo request with an unknown identifier that arrived during this ping's turn: NAT
   * changes identifiers too.
   */
  strangeSource?: Ip;
  error?: string;
};

class Probe implements Disposable {
  readonly #family: Family;
  readonly #sockets = new Map<string, IcmpSocket>();
  /** By identifier and sequence number, which an echo request and its reply share. */
  readonly #sent = new Map<string, Try>();
  /** The ping whose turn it is. */
  #current: Try | undefined;

  constructor(family: Family) {
    this.#family = family;
  }

  socket(endpoint: Endpoint): IcmpSocket {
    const netns = endpoint.netns ?? '';
    let socket = this.#sockets.get(netns);
    if (!socket) {
      socket = this.#open(netns);
      this.#sockets.set(netns, socket);
    }
    return socket;
  }

  [Symbol.dispose](): void {
    for (const socket of this.#sockets.values()) socket.close();
  }

  async run(tries: readonly Try[], { timeout, signal }: MatrixOptions): Promise<void> {
    let todo = tries;
    for (let round = 0; round < ROUNDS && todo.length > 0; round++) {
      for (const each of todo) {
        signal?.throwIfAborted();
        this.#send(each);
      }
      const pending = (): boolean => todo.some((each) => !each.answered);
      const deadline = performance.now() + timeout;
      while (pending() && performance.now() < deadline) {
        const left = deadline - performance.now();
        for (const socket of await waitForMessages([...this.#sockets.values()], left, signal)) {
          this.#drain(socket);
        }
      }
      const failed = todo.filter((each) => each.rtt === undefined || each.source === undefined);
      if (round > 0 && failed.length) todo = failed;
    }
  }

  /**
   * Opens a socket with an unused identifier: they are random, and with equal ones the requests of two
   * sockets could not be told apart at the target.
   */
  #open(netns: string): IcmpSocket {
    for (;;) {
      const socket = IcmpSocket.open({ family: this.#family, netns });
      if ([...this.#sockets.values()].every(({ id }) => id !== socket.id)) return socket;
      socket.close();
    }
  }

  #send(each: Try): void {
    this.#current = each;
    each.answered = false;
    each.sent = process.hrtime.bigint();
    try {
      const sequence = each.from.send(each.to);
      this.#sent.set(`${each.from.id} ${sequence}`, each);
    } catch (error) {
      if (!(error instanceof FlatnetError)) throw error;
      each.error = error.message;
      each.answered = true;
      return;
    }
    // On a single machine the reply has usually arrived by the time send returns.
    this.#drain(each.from);
    this.#drain(each.at);
  }

  #drain(socket: IcmpSocket): void {
    for (let message = socket.receive(); message; message = socket.receive()) this.#take(socket, message);
  }

  #take(socket: IcmpSocket, message: IcmpMessage): void {
    const each = this.#sent.get(`${message.id} ${message.sequence}`);
    if (!each?.sent) {
      const current = message.type === 'request' && socket === this.#current?.at ? this.#current : undefined;
      if (current) current.strangeSource = message.from;
      return;
    }
    if (message.type === 'request') {
      if (socket === each.at) each.source = message.from;
    } else if (socket === each.from) {
      each.answered = true;
      if (message.type !== 'reply') each.error = errorText(message);
      else if (message.from === each.to) {
        const rtt = Number(process.hrtime.bigint() - each.sent) / 1e6;
        each.rtt = Math.min(rtt, each.rtt ?? rtt);
      }
    }
  }
}
