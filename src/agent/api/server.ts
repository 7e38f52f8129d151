import { chmodSync, mkdirSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { dirname } from 'node:path';
import type { Handlers } from '../../companions/companion.ts';
import { FlatnetError, messageOf } from '../../error.ts';
import type { Log } from '../../log.ts';
import { Connection, type Host, LIMITS, type Limits } from './connection.ts';

/**
 * The agent's local API: one JSON line in, one JSON line out, over a unix socket that only root can open.
 * `{"op": NAME, …}` → the handler's result, or `{"error": {code, message, …}}`.
 */
export class LocalApi implements AsyncDisposable {
  readonly #server: Server;
  readonly #connections = new Set<Connection>();
  readonly #handlers: Handlers;

  private constructor(handlers: Handlers, log: Log, limits: Limits) {
    this.#handlers = handlers;
    const host: Host = { limits, log, held: 0, answer: (line) => this.#answer(line), refusal };
    this.#server = createServer({ allowHalfOpen: true }, (socket) => {
      const connection = new Connection(socket, host);
      this.#connections.add(connection);
      socket.on('close', () => this.#connections.delete(connection));
    });
    this.#server.maxConnections = limits.connections;
  }

  /** Listens on `path`, replacing a socket left by a dead agent. The caller must hold the node's lock. */
  static async listen(path: string, handlers: Handlers, log: Log, limits = LIMITS): Promise<LocalApi> {
    const api = new LocalApi(handlers, log, limits);
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
    for (const connection of this.#connections) connection.destroy();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
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
      return refusal(error);
    }
  }
}

function refusal(error: unknown): string {
  const parts =
    error instanceof FlatnetError ? error.toJSON() : { code: 'INTERNAL', message: messageOf(error) };
  return JSON.stringify({ error: parts });
}
