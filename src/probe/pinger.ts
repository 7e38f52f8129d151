import { FlatnetError } from '../error.ts';
import { type Family, familyOf, type Ip } from '../ip/address.ts';
import type { Mac } from '../ip/mac.ts';
import { type IcmpError, type IcmpMessage, IcmpSocket } from '../linux/icmp.ts';

/** Milliseconds between looks at the sockets: no thread waits for them. */
const TICK = 10;
/** Messages read from a socket at each look: a flood of them keeps the agent from nothing else. */
const MOST_PER_TICK = 100;
/** Milliseconds to wait for an answer. */
const PATIENCE = 1000;

/** How an echo request ended. */
export type Outcome =
  | 'answered'
  | 'silence'
  | { readonly error: IcmpError }
  /** This host did not send it: an errno. */
  | { readonly refused: string };

export type EchoOptions = {
  readonly source?: Ip | undefined;
  readonly hops?: number;
  /** Milliseconds to wait for the answer. Default: 1000. */
  readonly patience?: number;
};

/** The station on a link to send to. */
export type Station = { readonly dev: number; readonly mac: Mac };

type Line = { readonly socket: IcmpSocket; readonly waiting: Map<number, Waiting> };
type Waiting = { readonly to: Ip; readonly settle: (outcome: Outcome) => void };
type Watcher = {
  readonly wants: (error: IcmpError) => boolean;
  readonly settle: (error?: IcmpError) => void;
};

/** Bytes of the headers before an echo's own. */
const HEADERS: Record<Family, number> = { 4: 28, 6: 48 };

/** The source is not an address of this host: it has not been set up. */
const NO_SOURCE = 'EADDRNOTAVAIL';

/** Pings for many probes at once, through one socket for each way of sending. */
export class Pinger implements Disposable {
  readonly #lines = new Map<string, Line>();
  readonly #watchers = new Set<Watcher>();
  #timer: NodeJS.Timeout | undefined;
  #isClosed = false;

  /** Sends an echo request, which must not be fragmented, as an IP packet of `size` bytes. */
  echo(to: Ip, size: number, { source, hops, patience }: EchoOptions = {}): Promise<Outcome> {
    const family = familyOf(to);
    const send = (socket: IcmpSocket) => socket.send(to, Math.max(0, size - HEADERS[family]));
    return this.#send(to, `${source} ${hops}`, { family, source, hops }, send, patience);
  }

  /** The same straight to a station, past this host's routes. */
  echoVia(station: Station, from: Ip, to: Ip, size: number): Promise<Outcome> {
    const family = familyOf(to);
    return this.#send(to, 'any', { family }, (socket) =>
      socket.sendVia(station, from, to, Math.max(0, size - HEADERS[family])),
    );
  }

  /** Resolves to the first error that comes back about what `send` sends; undefined if none does. */
  errorAbout(to: Ip, wants: (error: IcmpError) => boolean, send: () => void): Promise<IcmpError | undefined> {
    if (this.#isClosed) return Promise.resolve(undefined);
    this.#line(familyOf(to), 'any', { family: familyOf(to) });
    return new Promise((resolve, reject) => {
      const end = (error?: IcmpError): void => {
        clearTimeout(timer);
        this.#watchers.delete(watcher);
        resolve(error);
      };
      const watcher: Watcher = { wants: (error) => error.to === to && wants(error), settle: end };
      const timer = setTimeout(end, PATIENCE);
      this.#watchers.add(watcher);
      try {
        send();
      } catch (error) {
        reject(error);
        end();
      }
    });
  }

  /** Ends whatever still waits; what is sent from now on meets silence at once. */
  [Symbol.dispose](): void {
    this.#isClosed = true;
    clearInterval(this.#timer);
    for (const key of this.#lines.keys()) this.#drop(key, 'silence');
    for (const { settle } of this.#watchers) settle();
  }

  #drop(key: string, outcome: Outcome): void {
    const line = this.#lines.get(key);
    this.#lines.delete(key);
    line?.socket.close();
    for (const { settle } of [...(line?.waiting.values() ?? [])]) settle(outcome);
  }

  #send(
    to: Ip,
    way: string,
    options: Parameters<typeof IcmpSocket.open>[0],
    send: (socket: IcmpSocket) => number,
    patience = PATIENCE,
  ): Promise<Outcome> {
    if (this.#isClosed) return Promise.resolve('silence');
    const line = attempt(() => this.#line(options.family, way, options), NO_SOURCE);
    if ('refused' in line) return Promise.resolve(line);
    const sequence = attempt(() => send(line.socket));
    if (typeof sequence !== 'number') return Promise.resolve(sequence);
    return new Promise((resolve) => {
      const settle = (outcome: Outcome): void => {
        clearTimeout(timer);
        line.waiting.delete(sequence);
        resolve(outcome);
      };
      const timer = setTimeout(settle, patience, 'silence');
      line.waiting.set(sequence, { to, settle });
    });
  }

  #line(family: Family, way: string, options: Parameters<typeof IcmpSocket.open>[0]): Line {
    const key = `${family} ${way}`;
    const known = this.#lines.get(key);
    if (known) return known;
    const socket = IcmpSocket.open({ ...options, dontFragment: true, answersOnly: true });
    const line: Line = { socket, waiting: new Map() };
    this.#lines.set(key, line);
    this.#timer ??= setInterval(() => this.#drain(), TICK);
    return line;
  }

  #drain(): void {
    for (const [key, line] of this.#lines) {
      const result = attempt(() => this.#receive(line));
      // Nobody awaits this: whoever waits learns that the socket failed.
      if (typeof result === 'object') this.#drop(key, result);
    }
  }

  #receive({ socket, waiting }: Line): void {
    for (let i = 0; i < MOST_PER_TICK; i++) {
      const message = socket.receive();
      if (!message) return;
      if (message.type === 'request') continue;
      if (message.type !== 'reply') this.#tell(message);
      if (message.id === socket.id) this.#settle(waiting, message);
    }
  }

  #settle(waiting: Line['waiting'], message: Exclude<IcmpMessage, { type: 'request' }>): void {
    const found = message.sequence === undefined ? undefined : waiting.get(message.sequence);
    if (!found) return;
    // Whoever answers must be the one who was asked.
    if (message.type === 'reply') {
      if (message.from === found.to) found.settle('answered');
    } else if (message.to === found.to) found.settle({ error: message });
  }

  #tell(error: IcmpError): void {
    for (const watcher of this.#watchers) if (watcher.wants(error)) watcher.settle(error);
  }
}

/** Runs a system call; its errno is a result. `only`: that one alone. */
function attempt<T>(call: () => T, only?: string): T | { readonly refused: string } {
  try {
    return call();
  } catch (error) {
    if (!(error instanceof FlatnetError) || error.errno === undefined) throw error;
    if (only !== undefined && error.errno !== only) throw error;
    return { refused: error.errno };
  }
}
