import type http from 'node:http';
import type https from 'node:https';
import { FlatnetError, messageOf } from '../../error.ts';
import { serverAt } from '../../url.ts';

/** PEM texts: the CA that signed the server's certificate, and the client's own certificate and key. */
export type Tls = { readonly ca?: string; readonly cert?: string; readonly key?: string };

/** A server's endpoint, ready for node:http. */
export type Endpoint = {
  readonly name: string;
  readonly request: (options: https.RequestOptions) => http.ClientRequest;
  readonly options: https.RequestOptions;
  /** Keeps idle connections for the next request. */
  readonly agent: http.Agent;
};

// Importing node:http evaluates all its exports, including a getter that loads undici: 60 ms and 15 MB in
// every agent. TLS costs 5 MB.
const plain = process.getBuiltinModule('node:http');
const secure = (): typeof https => process.getBuiltinModule('node:https');

// TCP keep-alive probes start after this idle time, to detect a peer that vanished silently.
const KEEP_ALIVE = { keepAlive: true, keepAliveInitialDelay: 10_000 } as const;

/** Parses `http://host:port`, `https://host:port` or `unix:/path`. Throws CONFIG_INVALID. */
export function parseEndpoint(name: string, tls: Tls = {}): Endpoint {
  if (name.startsWith('unix:')) {
    const socketPath = name.slice('unix:'.length).replace(/^\/\/(?=\/)/, '');
    if (!socketPath.startsWith('/')) throw invalid(name, 'needs an absolute path');
    const options = { socketPath, host: 'localhost', ...KEEP_ALIVE };
    return { name, request: plain.request, options, agent: new plain.Agent({ keepAlive: true }) };
  }
  const url = parseUrl(name);
  const server = serverAt(url);
  if (url.protocol === 'http:') {
    const options = { ...server, ...KEEP_ALIVE };
    return { name, request: plain.request, options, agent: new plain.Agent({ keepAlive: true }) };
  }
  const options = { ...server, ...tls, ...KEEP_ALIVE };
  const { request, Agent } = secure();
  return { name, request, options, agent: new Agent({ keepAlive: true, ...tls }) };
}

function parseUrl(text: string): URL {
  let url: URL;
  try {
    url = new URL(text);
  } catch (error) {
    throw invalid(text, messageOf(error));
  }
  if (!['http:', 'https:'].includes(url.protocol)) throw invalid(text, 'has an unknown scheme');
  if (url.username || url.password)
    throw invalid(text, 'contains credentials; use the username and password options');
  if (url.pathname !== '/' || url.search) throw invalid(text, 'has a path');
  return url;
}

function invalid(endpoint: string, text: string): FlatnetError {
  return new FlatnetError(`'${endpoint}' ${text}`, {
    code: 'CONFIG_INVALID',
    object: 'store.endpoints',
    fix: 'write http://host:port, https://host:port or unix:/path',
  });
}
