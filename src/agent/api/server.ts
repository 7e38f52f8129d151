import { chmodSync, mkdirSync, rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { dirname } from 'node:path';
import { background } from '../../async/background.ts';
import type { Handlers } from '../../companions/companion.ts';
import { FlatnetError, messageOf } from '../../error.ts';
import type { Log } from '../../log.ts';

/** In characters. Real requests are far smaller: a CNI configuration is a few KB. */
const MAX_REQUEST = 4 * 1024 * 1024;

/**
 * The agent's local API: one JSON line in, one JSON line out, over a unix socket that only root can open.
 * `{"op": NAME, …}` → the handler's result, or `{"error": {code, message, …}}`.
 */
export class LocalApi implements AsyncDisposable {
  readonly #server: Server;
  readonly #connections = new Set<Socket>();
  readonly #handlers: Handlers;
  readonly #log: Log;

  private constructor(handlers: Handlers, log: Log) {
    this.#handlers = handlers;
    this.#log = log;
    this.#server = createServer({ allowHalfOpen: true }, (socket) => this.#serve(socket));
  }

  /** Listens on `path`, replacing a socket left by a dead agent. The caller must hold the node's lock. */
  static async listen(path: string, handlers: Handlers, log: Log): Promise<LocalApi> {
    const api = new LocalApi(handlers, log);
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    rmSync(path, { force: true });
    await new Promise<void>((resolve, reject) => {
      api.#server.once('error', (cause) =>
        reject(
          new FlatnetError(messageOf(cause), { code: 'IO', operation: 'listen on', object: path, cause }),
        ),
      );
      // The umask closes the window between bind and chmod in which anyone could connect.
      const mask = process.umask(0o177);
      api.#server.listen(path, () => {
        chmodSync(path, 0o600);
        resolve();
      });
      process.umask(mask);
    });
    return api;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#connections) socket.destroy();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }

  #serve(socket: Socket): void {
    let text = '';
    let pending = 0;
    let ended = false;
    const closeWhenDone = (): void => {
      if (ended && pending === 0) socket.end();
    };
    const take = (line: string): void => {
      pending++;
      const answer = this.#answer(line).then((reply) => {
        pending--;
        if (socket.writable) socket.write(`${reply}\n`);
        closeWhenDone();
      });
      background('answer a request', answer, this.#log);
    };
    this.#connections.add(socket);
    socket.setEncoding('utf8');
    socket.on('close', () => this.#connections.delete(socket));
    // A client that disconnected needs no answer, but its request still runs to completion.
    socket.on('error', () => socket.destroy());
    socket.on('data', (chunk: string) => {
      text += chunk;
      for (let end = text.indexOf('\n'); end >= 0; end = text.indexOf('\n')) {
        take(text.slice(0, end));
        text = text.slice(end + 1);
      }
      if (text.length > MAX_REQUEST) socket.destroy();
    });
    socket.on('end', () => {
      ended = true;
      if (text.trim() !== '') take(text);
      closeWhenDone();
    });
  }

  async #answer(line: string): Promise<string> {
    try {
      const request: unknown = JSON.parse(line);
      if (typeof request !== 'object' || request === null || !('op' in request)) {
        throw new FlatnetError('a request must be an object with an op', { code: 'USAGE' });
      }
      const op = String(request.op);
      const handler = Object.hasOwn(this.#handlers, op) ? this.#handlers[op] : undefined;
      if (!handler) {
        throw new FlatnetError(`no such op`, {
          code: 'USAGE',
          object: op,
          fix: `use one of ${Object.keys(this.#handlers).join(', ')}`,
        });
      }
      return JSON.stringify((await handler({ ...request })) ?? {});
    } catch (error) {
      const parts =
        error instanceof FlatnetError ? error.toJSON() : { code: 'INTERNAL', message: messageOf(error) };
      return JSON.stringify({ error: parts });
    }
  }
}
