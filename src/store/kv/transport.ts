import type http from 'node:http';
import { codeOf, type ErrorCode, FlatnetError, messageOf } from '../../error.ts';
import { excerpt } from '../../problem.ts';
import { type Endpoint, parseEndpoint, type Tls } from './endpoint.ts';
import { asJson, type Json } from './gateway.ts';

export type TransportOptions = {
  /** `http://host:port`, `https://host:port` or `unix:/path`, tried in turn. */
  readonly endpoints: readonly string[];
  readonly tls?: Tls;
  readonly username?: string;
  readonly password?: string;
  /** Timeout of one request to one endpoint, in milliseconds; 5 000 by default. */
  readonly timeout?: number;
};

type Reader<T> = (response: http.IncomingMessage) => Promise<T> | T;
type Call<T> = {
  readonly path: string;
  readonly body: Json;
  /** Safe to send again even if the server has already processed it. */
  readonly repeatable: boolean;
  /** Uses its own connection. */
  readonly dedicated: boolean;
  readonly read: Reader<T>;
};

/** JSON over HTTP to one of several endpoints, with keep-alive, timeout, fail-over and etcd's token auth. */
export class Transport {
  readonly #endpoints: readonly Endpoint[];
  readonly #options: TransportOptions;
  #current = 0;
  #token: string | undefined;
  #closed = false;

  /** Throws CONFIG_INVALID for a malformed endpoint. */
  constructor(options: TransportOptions) {
    if (options.endpoints.length === 0) {
      throw new FlatnetError('is empty', { code: 'CONFIG_INVALID', object: 'store.endpoints' });
    }
    this.#endpoints = options.endpoints.map((text) => parseEndpoint(text, options.tls));
    this.#options = options;
  }

  /**
   * Posts `body` and returns the answer. A request that reached no server is retried at the next endpoint;
   * one that failed later only if `repeatable`. Throws STORE_UNAVAILABLE, or the code for the server's error.
   */
  call(path: string, body: Json, repeatable = false): Promise<Json> {
    return this.#run({ path, body, repeatable, dedicated: false, read: readJson });
  }

  /** Posts `body` and returns the response as soon as its headers arrive. The caller must destroy it. */
  stream(path: string, body: Json): Promise<http.IncomingMessage> {
    return this.#run({ path, body, repeatable: true, dedicated: true, read: (response) => response });
  }

  /** Makes the next request log in again. */
  forgetToken(): void {
    this.#token = undefined;
  }

  close(): void {
    this.#closed = true;
    for (const { agent } of this.#endpoints) agent.destroy();
  }

  async #run<T>(call: Call<T>): Promise<T> {
    if (this.#options.username === undefined) return this.#failOver(call);
    const token = await this.#login();
    try {
      return await this.#failOver(call, token);
    } catch (error) {
      if (!(error instanceof StaleToken)) throw error;
      if (this.#token === token) this.#token = undefined;
      return this.#failOver(call, await this.#login());
    }
  }

  async #login(): Promise<string> {
    if (this.#token !== undefined) return this.#token;
    const body = { name: this.#options.username, password: this.#options.password ?? '' };
    const answer = await this.#failOver({
      path: '/v3/auth/authenticate',
      body,
      repeatable: true,
      dedicated: false,
      read: readJson,
    });
    this.#token = String(answer.token);
    return this.#token;
  }

  async #failOver<T>(call: Call<T>, token?: string): Promise<T> {
    const count = this.#endpoints.length;
    // The server may have closed an idle connection: a repeatable call gets a second try even with one
    // endpoint.
    const attempts = call.repeatable ? Math.max(count, 2) : count;
    for (let attempt = 1; ; attempt++) {
      const index = this.#current;
      const endpoint = this.#endpoints[index];
      if (!endpoint || this.#closed) throw unavailable(call.path, 'the client is closed');
      try {
        return await this.#post(endpoint, call, token);
      } catch (error) {
        if (!(error instanceof RequestFailed)) throw error;
        if (this.#current === index) this.#current = (index + 1) % count;
        if (attempt < attempts && (call.repeatable || !error.sent)) continue;
        throw unavailable(call.path, error.message, endpoint.name, error.cause);
      }
    }
  }

  #post<T>(endpoint: Endpoint, call: Call<T>, token?: string): Promise<T> {
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    const text = JSON.stringify(call.body);
    let sent = false;
    const request = endpoint.request({
      ...endpoint.options,
      agent: call.dedicated ? false : endpoint.agent,
      method: 'POST',
      path: call.path,
      headers: {
        'content-type': 'application/json',
        'content-length': Buffer.byteLength(text),
        ...(token === undefined ? {} : { authorization: token }),
        // A stream from a member that has lost the others would stay silent instead of ending.
        ...(call.dedicated && { 'grpc-metadata-hasleader': 'true' }),
      },
    });
    const timeout = this.#options.timeout ?? 5_000;
    const timer = setTimeout(() => {
      request.destroy(Object.assign(new Error(`no answer within ${timeout} ms`), { code: 'ETIMEDOUT' }));
    }, timeout);
    request.once('socket', (socket) => {
      if (!socket.connecting) sent = true;
      else socket.once('connect', () => (sent = true));
    });
    const fail = (error: unknown): void => {
      reject(error instanceof FlatnetError ? error : new RequestFailed(error, sent));
    };
    request.on('error', fail);
    request.once('response', (response) => {
      const answer = response.statusCode === 200 ? call.read(response) : readError(call.path, response);
      Promise.resolve(answer).then(resolve, fail);
    });
    request.end(text);
    return promise.finally(() => clearTimeout(timer));
  }
}

async function readText(response: http.IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(chunk);
  return Buffer.concat(chunks).toString('utf8');
}

async function readJson(response: http.IncomingMessage): Promise<Json> {
  const text = await readText(response);
  try {
    return asJson(JSON.parse(text));
  } catch (cause) {
    throw new Error(`the answer is not JSON: ${excerpt(text)}`, { cause });
  }
}

/** Error codes by gRPC status code, which the gateway puts into `code`. */
const CODES: Record<number, ErrorCode> = {
  3: 'USAGE',
  5: 'NOT_FOUND',
  8: 'USAGE',
  9: 'STORE_CONFLICT',
  11: 'STORE_COMPACTED',
};
const [DEADLINE_EXCEEDED, UNAVAILABLE, UNAUTHENTICATED] = [4, 14, 16];

async function readError(path: string, response: http.IncomingMessage): Promise<never> {
  const { statusCode = 0 } = response;
  const { code, text } = refusalFrom(statusCode, await readText(response));
  const isStale = code === UNAUTHENTICATED || text.includes('revision of auth store is old');
  if (isStale) throw new StaleToken(path, text);
  // The cluster behind this server cannot answer (no leader, overload): another endpoint may.
  if (code === UNAVAILABLE || code === DEADLINE_EXCEEDED || statusCode >= 500) throw new Error(text);
  const entry = ENTRY.find(({ says }) => text.includes(says));
  throw new FlatnetError(text, {
    code: entry ? 'STORE_UNAVAILABLE' : (CODES[code] ?? 'STORE_UNAVAILABLE'),
    operation: operationOf(path),
    ...(entry && { fix: entry.fix }),
  });
}

/** The gateway answers in JSON; it refuses some requests itself, and a proxy others, in plain text. */
function refusalFrom(status: number, body: string): { readonly code: number; readonly text: string } {
  try {
    const { code, message, error } = asJson(JSON.parse(body));
    const text = message ?? error;
    if (typeof text === 'string') return { code: Number(code), text: excerpt(text) };
  } catch {
    // Not etcd's own answer.
  }
  const said = excerpt(body.trim());
  return { code: Number.NaN, text: `HTTP status ${status}${said && `: ${said}`}` };
}

/** How etcd refuses to let a client in, under various codes, and what helps. */
const ENTRY = [
  { says: 'user name is empty', fix: 'set store.username and store.password' },
  { says: 'authentication failed', fix: 'check store.username and store.password' },
  { says: 'authentication is not enabled', fix: 'remove store.username and store.password' },
  { says: 'permission denied', fix: 'grant this user’s role the keys of the network' },
  { says: 'CommonName of client', fix: 'use a client certificate without a CN' },
] as const;

/** A request failed in transit; if it was `sent`, the server may have acted on it. */
class RequestFailed extends Error {
  readonly sent: boolean;
  constructor(cause: unknown, sent: boolean) {
    super(messageOf(cause), { cause });
    this.sent = sent;
  }
}

class StaleToken extends FlatnetError {
  constructor(path: string, text: string) {
    super(text, { code: 'STORE_UNAVAILABLE', operation: operationOf(path) });
  }
}

function unavailable(path: string, text: string, endpoint?: string, cause?: unknown): FlatnetError {
  const errno = codeOf(cause);
  return new FlatnetError(text, {
    code: 'STORE_UNAVAILABLE',
    operation: operationOf(path),
    ...(endpoint === undefined ? {} : { object: `at ${endpoint}` }),
    ...(errno === undefined ? {} : { errno }),
    cause,
  });
}

/** `/v3/kv/range` → `store range`. */
function operationOf(path: string): string {
  return `store ${path.slice(path.lastIndexOf('/') + 1)}`;
}
