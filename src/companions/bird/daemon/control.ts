import { connect, type Socket } from 'node:net';
import { FlatnetError, messageOf } from '../../../error.ts';
import { type Reply, ReplyReader } from './reply.ts';

/** Milliseconds. BIRD answers from its one event loop: while it computes a big table, nothing comes. */
const PATIENCE = 10_000;

type Waiting = {
  readonly command: string;
  readonly resolve: (reply: Reply) => void;
  readonly reject: (error: FlatnetError) => void;
  readonly timer: NodeJS.Timeout;
};

/**
 * BIRD's control socket: does what birdc does, with errors as errors. Commands are answered in the order they
 * were given. When BIRD ends, so does the connection.
 */
export class BirdControl implements Disposable {
  readonly #socket: Socket;
  readonly #path: string;
  readonly #waiting: Waiting[] = [];
  /** Resolves when the connection is gone. */
  readonly closed: Promise<void>;

  private constructor(path: string) {
    this.#path = path;
    this.#socket = connect(path);
    const reader = new ReplyReader();
    this.#socket.setEncoding('utf8');
    this.#socket.on('data', (chunk: string) => {
      for (const reply of reader.push(chunk)) this.#answered(reply);
    });
    this.#socket.on('error', (cause) => this.#fail(messageOf(cause)));
    this.closed = new Promise((resolve) => {
      this.#socket.on('close', () => {
        this.#fail('it closed the connection');
        resolve();
      });
    });
  }

  /** Throws BIRD when nobody listens on the socket, or whoever does is not BIRD. */
  static async open(path: string, patience = PATIENCE): Promise<{ control: BirdControl; version: string }> {
    const control = new BirdControl(path);
    try {
      const greeting = await control.#next('connect', patience);
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
   * One command, as typed to birdc, and its answer. Throws BIRD, in BIRD's own words for codes 8xxx and 9xxx,
   * and on silence.
   */
  async request(command: string, patience = PATIENCE): Promise<Reply> {
    const answer = this.#next(command, patience);
    this.#socket.write(`${command}\n`);
    const reply = await answer;
    if (reply.code >= 8000) {
      const text = reply.lines.map((line) => line.text).join('; ');
      throw new FlatnetError(text, { code: 'BIRD', operation: command });
    }
    return reply;
  }

  #next(command: string, patience: number): Promise<Reply> {
    return new Promise((resolve, reject) => {
      if (this.#socket.destroyed) return reject(this.#error(command, 'the connection is closed'));
      // A late answer would be taken for the next command's, so the connection is of no more use.
      const timer = setTimeout(() => this.#fail(`no answer within ${patience} ms`), patience);
      this.#waiting.push({ command, resolve, reject, timer });
    });
  }

  #answered(reply: Reply): void {
    const waiting = this.#waiting.shift();
    if (!waiting) return;
    clearTimeout(waiting.timer);
    waiting.resolve(reply);
  }

  #fail(text: string): void {
    this.#socket.destroy();
    for (const { command, reject, timer } of this.#waiting.splice(0)) {
      clearTimeout(timer);
      reject(this.#error(command, text));
    }
  }

  #error(command: string, text: string): FlatnetError {
    return new FlatnetError(text, { code: 'BIRD', operation: command, object: this.#path });
  }
}
