import { connect, type Socket } from 'node:net';
import { codeOf, FlatnetError, messageOf } from '../../../error.ts';
import { type Reply, ReplyReader } from './reply.ts';

/**
 * Timeout for an answer, in milliseconds. BIRD has a single event loop and does not answer while it computes
 * a large table.
 */
const TIMEOUT = 10_000;

type Waiting = {
  readonly command: string;
  readonly resolve: (reply: Reply) => void;
  readonly reject: (error: FlatnetError) => void;
  readonly timer: NodeJS.Timeout;
};

/**
 * BIRD's control socket: like birdc, but failures are thrown. Commands are answered in order. The connection
 * closes when BIRD exits.
 */
export class BirdControl implements Disposable {
  readonly #socket: Socket;
  readonly #path: string;
  readonly #waiting: Waiting[] = [];
  /** Resolves when the connection is closed. */
  readonly closed: Promise<void>;

  private constructor(path: string) {
    this.#path = path;
    this.#socket = connect(path);
    const reader = new ReplyReader();
    this.#socket.setEncoding('utf8');
    this.#socket.on('data', (chunk: string) => {
      for (const reply of reader.push(chunk)) this.#onReply(reply);
    });
    this.#socket.on('error', (cause) => this.#fail(messageOf(cause), codeOf(cause)));
    this.closed = new Promise((resolve) => {
      this.#socket.on('close', () => {
        this.#fail('BIRD closed the connection');
        resolve();
      });
    });
  }

  /** Throws BIRD when nothing, or something other than BIRD, listens on the socket. */
  static async open(path: string, timeoutMs = TIMEOUT): Promise<{ control: BirdControl; version: string }> {
    const control = new BirdControl(path);
    try {
      const greeting = await control.#next('connect', timeoutMs);
      const version = /^BIRD (\S+) ready/.exec(greeting.lines.at(-1)?.text ?? '')?.[1];
      if (greeting.code === 1 && version !== undefined) return { control, version };
      throw new FlatnetError('is not BIRD', { code: 'BIRD', operation: 'connect', object: path });
    } catch (error) {
      control[Symbol.dispose]();
      throw error;
    }
  }

  [Symbol.dispose](): void {
    this.#socket.destroy();
  }

  get isOpen(): boolean {
    return !this.#socket.destroyed;
  }

  /**
   * Sends one command, as typed into birdc, and returns the answer. Throws BIRD: with BIRD's own message for
   * codes 8xxx and 9xxx, and on a timeout.
   */
  async request(command: string, timeoutMs = TIMEOUT): Promise<Reply> {
    const answer = this.#next(command, timeoutMs);
    this.#socket.write(`${command}\n`);
    const reply = await answer;
    if (reply.code >= 8000) {
      const text = reply.lines.map((line) => line.text).join('; ');
      throw new FlatnetError(text, { code: 'BIRD', operation: command });
    }
    return reply;
  }

  #next(command: string, timeoutMs: number): Promise<Reply> {
    return new Promise((resolve, reject) => {
      if (this.#socket.destroyed) return reject(this.#error(command, 'the connection is closed'));
      // A late answer would be mistaken for the next command's, so the connection is closed.
      const timer = setTimeout(() => this.#fail(`no answer within ${timeoutMs} ms`), timeoutMs);
      this.#waiting.push({ command, resolve, reject, timer });
    });
  }

  #onReply(reply: Reply): void {
    const waiting = this.#waiting.shift();
    if (!waiting) return;
    clearTimeout(waiting.timer);
    waiting.resolve(reply);
  }

  #fail(text: string, errno?: string): void {
    this.#socket.destroy();
    for (const { command, reject, timer } of this.#waiting.splice(0)) {
      clearTimeout(timer);
      reject(this.#error(command, text, errno));
    }
  }

  #error(command: string, text: string, errno?: string): FlatnetError {
    const object = this.#path;
    return new FlatnetError(text, { code: 'BIRD', operation: command, object, ...(errno && { errno }) });
  }
}
