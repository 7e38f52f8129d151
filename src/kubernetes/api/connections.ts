import type http from 'node:http';
import type https from 'node:https';
import type tls from 'node:tls';
import { FlatnetError, messageOf } from '../../error.ts';
import { serverAt } from '../../url.ts';
import type { TlsMaterial } from '../access/access.ts';

// Importing node:http evaluates all its exports, including a getter that loads undici: 60 ms and 15 MB.
const plain = process.getBuiltinModule('node:http');
const secure = (): typeof https => process.getBuiltinModule('node:https');

const AGENT = {
  keepAlive: true,
  // After this silence the kernel asks whether the other machine is still there, every second, ten times.
  keepAliveInitialDelay: 10_000,
  // The API server closes idle connections after 90 s. Closing them first, no request meets a closing one.
  timeout: 60_000,
} as const;

/** Milliseconds for which the earlier client certificate and key serve in place of unusable ones. */
const GRACE = 30_000;

/**
 * Connections to one server, kept for the next request. HTTP/1.1: every watch has its own connection, so that
 * one that stalls holds up nothing else.
 */
export class Connections {
  readonly #url: URL;
  #current: { readonly name: string; readonly agent: http.Agent } | undefined;
  /** Agents of earlier TLS material. */
  #retired: readonly http.Agent[] = [];
  #unusableSince: number | undefined;

  /** Throws CONFIG_INVALID. */
  constructor(server: string) {
    this.#url = parseServer(server);
  }

  /**
   * Begins a request. New TLS material means new connections; those in use may finish. Throws CONFIG_INVALID
   * if the material is unusable.
   */
  request(options: http.RequestOptions, tls: TlsMaterial): http.ClientRequest {
    const { protocol, pathname } = this.#url;
    const { request } = protocol === 'https:' ? secure() : plain;
    return request({
      ...options,
      path: pathname.replace(/\/$/, '') + options.path,
      ...serverAt(this.#url),
      agent: this.#agent(tls),
    });
  }

  /** Closes the connections that are not in use: the server may be another one by now, or gone. */
  closeIdle(): void {
    for (const sockets of Object.values(this.#current?.agent.freeSockets ?? {})) {
      for (const socket of sockets ?? []) socket.destroy();
    }
  }

  /** Closes all connections. */
  close(): void {
    for (const agent of [...this.#retired, this.#current?.agent]) agent?.destroy();
  }

  #agent(tls: TlsMaterial): http.Agent {
    const name = JSON.stringify(tls);
    if (this.#current?.name === name) {
      this.#unusableSince = undefined;
      return this.#current.agent;
    }
    let agent: http.Agent;
    try {
      agent = this.#newAgent(tls);
    } catch (error) {
      // A certificate and its key are two files, replaced one after the other.
      this.#unusableSince ??= performance.now();
      if (!this.#current || performance.now() - this.#unusableSince > GRACE) throw error;
      return this.#current.agent;
    }
    this.#unusableSince = undefined;
    this.closeIdle();
    if (this.#current) this.#retire(this.#current.agent);
    this.#current = { name, agent };
    return agent;
  }

  /** Sockets that are still in use are closed when they are returned. */
  #retire(agent: http.Agent): void {
    agent.maxFreeSockets = 0;
    this.#retired = [...this.#retired.filter(({ sockets }) => Object.keys(sockets).length > 0), agent];
  }

  #newAgent(material: TlsMaterial): http.Agent {
    if (this.#url.protocol === 'http:') return new plain.Agent(AGENT);
    const { serverName, insecure } = material;
    const { Agent } = secure();
    return new Agent({
      ...AGENT,
      secureContext: secureContext(material),
      ...(serverName !== undefined && { servername: serverName }),
      ...(insecure && { rejectUnauthorized: false }),
    });
  }
}

function secureContext({ ca, cert, key }: TlsMaterial): tls.SecureContext {
  const { createSecureContext } = process.getBuiltinModule('node:tls');
  try {
    return createSecureContext({ ca, cert, key });
  } catch (error) {
    throw new FlatnetError(messageOf(error), {
      code: 'CONFIG_INVALID',
      object: 'client certificate for the Kubernetes API',
      fix: 'its key must belong to it, and both must be PEM',
      cause: error,
    });
  }
}

function parseServer(text: string): URL {
  const invalid = (why: string): FlatnetError =>
    new FlatnetError(`'${text}' ${why}`, { code: 'CONFIG_INVALID', object: 'server of the Kubernetes API' });
  let url: URL;
  try {
    url = new URL(text);
  } catch (error) {
    throw invalid(messageOf(error));
  }
  if (!['http:', 'https:'].includes(url.protocol)) throw invalid('must begin with https:// or http://');
  if (url.username || url.search) throw invalid('contains more than host, port and path');
  return url;
}
