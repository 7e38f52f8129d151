import type { Socket } from 'node:net';
import { background } from '../../async/background.ts';
import { FlatnetError } from '../../error.ts';
import type { Log } from '../../log.ts';

/** What one client, or all of them together, may cost the agent. */
export type Limits = {
  /** Bytes of one request. A CNI configuration has a few KB. */
  readonly request: number;
  /** Bytes of all requests that are incomplete or not yet answered. */
  readonly requests: number;
  /** Bytes of answers that wait for a client to read them, before its next request is read. */
  readonly answers: number;
  /** Requests of one client handled at once. */
  readonly pending: number;
  /** Milliseconds in which a client must complete a request, or read an answer. */
  readonly patience: number;
  readonly connections: number;
};

const MIB = 1024 * 1024;

/** A request holds the largest configuration that a shim passes on, with every quote and newline escaped. */
export const LIMITS: Limits = {
  request: 5 * MIB,
  requests: 64 * MIB,
  answers: MIB,
  pending: 64,
  patience: 30_000,
  connections: 1024,
};

/** What a connection needs from its server. */
export type Host = {
  readonly limits: Limits;
  readonly log: Log;
  /** Bytes of all connections' requests. */
  held: number;
  /** Returns the answer's line. Never rejects. */
  answer(line: string): Promise<string>;
  /** Returns the answer's line for an error. */
  refusal(error: unknown): string;
};

const NEWLINE = 10;
const NOTHING = Buffer.alloc(0);

/** One client of the local API: its requests are handled as they arrive, their answers written when ready. */
export class Connection {
  readonly #socket: Socket;
  readonly #host: Host;
  /** Not handled yet: one read from the socket. */
  #received: Buffer = NOTHING;
  /** The incomplete request. */
  #chunks: Buffer[] = [];
  #length = 0;
  #pending = 0;
  #isEnded = false;
  /** Whether it asked for too much: what it still sends is discarded. */
  #isRefused = false;
  #timer: NodeJS.Timeout | undefined;

  constructor(socket: Socket, host: Host) {
    this.#socket = socket;
    this.#host = host;
    // A client that disconnected needs no answer, but its request still runs to completion.
    socket.on('error', () => socket.destroy());
    socket.on('close', () => this.#close());
    socket.on('data', (bytes: Buffer) => {
      this.#received = this.#received.length > 0 ? Buffer.concat([this.#received, bytes]) : bytes;
      this.#proceed();
    });
    socket.on('drain', () => this.#advanced());
    socket.on('end', () => {
      this.#isEnded = true;
      this.#proceed();
    });
    this.#watch();
  }

  destroy(): void {
    this.#socket.destroy();
  }

  /** Handles what has been received, as far as the client reads its answers; then receives more. */
  #proceed(): void {
    while (this.#received.length > 0 && !this.#isRefused) {
      if (this.#isThrottled) {
        this.#socket.pause();
        return;
      }
      const bytes = this.#received;
      const end = bytes.indexOf(NEWLINE);
      this.#received = end < 0 ? NOTHING : bytes.subarray(end + 1);
      this.#keep(end < 0 ? bytes : bytes.subarray(0, end));
      if (end >= 0) this.#take();
    }
    this.#received = NOTHING;
    if (this.#isEnded) this.#finish();
    else this.#socket.resume();
  }

  get #isThrottled(): boolean {
    const { answers, pending } = this.#host.limits;
    return this.#socket.writableLength > answers || this.#pending >= pending;
  }

  /** The last request needs no newline. */
  #finish(): void {
    this.#take();
    if (this.#pending === 0) this.#socket.end();
  }

  /** Keeps a part of a request, unless it makes the request too long, or all of them. */
  #keep(bytes: Buffer): void {
    const { limits, held } = this.#host;
    this.#chunks.push(bytes);
    this.#length += bytes.length;
    this.#host.held += bytes.length;
    if (this.#length > limits.request) {
      this.#refuse(`the request is too large: more than the limit of ${limits.request} bytes`);
    } else if (held + bytes.length > limits.requests) {
      this.#refuse('too many requests at once');
    }
  }

  /** Handles the request that has been kept, if any. */
  #take(): void {
    const size = this.#length;
    const line = Buffer.concat(this.#chunks).toString();
    this.#chunks = [];
    this.#length = 0;
    if (line.trim() === '') {
      this.#host.held -= size;
      return;
    }
    this.#pending++;
    const answered = this.#host.answer(line).then((reply) => {
      this.#pending--;
      this.#host.held -= size;
      if (this.#socket.writable) this.#socket.write(`${reply}\n`, () => this.#advanced());
      this.#advanced();
    });
    background('answer a request', answered, this.#host.log);
    this.#watch();
  }

  #refuse(text: string): void {
    this.#isRefused = true;
    this.#forget();
    const error = new FlatnetError(text, { code: 'USAGE', operation: 'read a request' });
    // Closing at once would reset the connection, and with it the answer, while the client is still writing.
    this.#socket.end(`${this.#host.refusal(error)}\n`);
  }

  /** Something was handled or read. */
  #advanced(): void {
    if (this.#socket.destroyed) return;
    this.#watch();
    this.#proceed();
  }

  /** Gives the client time for its next step. */
  #watch(): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      const isWaiting = this.#pending > 0 && this.#length === 0 && this.#socket.writableLength === 0;
      if (isWaiting) this.#watch();
      else this.#socket.destroy();
    }, this.#host.limits.patience).unref();
  }

  #forget(): void {
    this.#host.held -= this.#length;
    this.#chunks = [];
    this.#length = 0;
  }

  #close(): void {
    clearTimeout(this.#timer);
    this.#received = NOTHING;
    this.#forget();
  }
}
