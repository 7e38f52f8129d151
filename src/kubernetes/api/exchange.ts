import type http from 'node:http';
import { promisify } from 'node:util';
import { messageOf } from '../../error.ts';
import type { Access } from '../access/access.ts';
import { ApiError, apiError } from './api-error.ts';
import type { Connections } from './connections.ts';
import { type ApiRequest, methodOf } from './request.ts';

export type Wire = {
  readonly access: Access;
  readonly connections: Connections;
  readonly userAgent: string;
  /** Milliseconds without a byte after which an answer is given up. */
  readonly silence: number;
};

/** A request failed in transit; if it was `sent`, the server may have acted on it. */
export class TransitError extends Error {
  readonly sent: boolean;
  constructor(cause: unknown, sent: boolean) {
    super(messageOf(cause), { cause });
    this.sent = sent;
  }
}

/**
 * Sends a request once and reads the answer, as text. Throws TransitError, ApiError, and whatever reading the
 * credentials throws; the signal's reason if it aborts.
 */
export async function exchange(wire: Wire, request: ApiRequest, signal?: AbortSignal): Promise<string> {
  return withResponse(wire, request, signal, async (response, heard) => {
    response.on('data', heard);
    return readText(response);
  });
}

/** Sends a request once; resolves with a stream of the answer's body, which the caller must destroy. */
export function openStream(
  wire: Wire,
  request: ApiRequest,
  signal?: AbortSignal,
): Promise<http.IncomingMessage> {
  return withResponse(wire, request, signal, (response) => response);
}

async function withResponse<T>(
  { access, connections, userAgent, silence }: Wire,
  request: ApiRequest,
  signal: AbortSignal | undefined,
  read: (response: http.IncomingMessage, heard: () => void) => T | Promise<T>,
): Promise<T> {
  const [tls, credentials] = await Promise.all([access.tls(), access.headers()]);
  signal?.throwIfAborted();
  const { body } = request;
  const headers = {
    ...credentials,
    accept: 'application/json',
    // Long answers only: the server compresses neither short ones nor watches.
    'accept-encoding': 'gzip',
    'user-agent': userAgent,
    ...(body && { 'content-type': body.type, 'content-length': Buffer.byteLength(body.text) }),
  };
  const outgoing = connections.request({ method: methodOf(request), path: request.path, headers }, tls);
  const reached = watchProgress(outgoing);
  const timer = setTimeout(() => {
    outgoing.destroy(Object.assign(new Error(`no answer within ${silence} ms`), { code: 'ETIMEDOUT' }));
  }, silence);
  const abort = (): void => void outgoing.destroy();
  signal?.addEventListener('abort', abort, { once: true });
  try {
    const response = await responseTo(outgoing, body?.text);
    const status = response.statusCode ?? 0;
    if (status >= 200 && status < 300) return await read(response, () => timer.refresh());
    if (status === 401) access.forget();
    const retryAfter = response.headers['retry-after'];
    throw apiError(request, { status, body: await readText(response), retryAfter });
  } catch (error) {
    signal?.throwIfAborted();
    if (error instanceof ApiError) throw error;
    // The server may have moved.
    connections.closeIdle();
    const progress = reached();
    // The handshake failed: the server may have another certificate by now, and its authority be in a file.
    if (progress === 'host') access.forget();
    throw new TransitError(error, progress === 'server');
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', abort);
  }
}

function responseTo(outgoing: http.ClientRequest, body: string | undefined): Promise<http.IncomingMessage> {
  return new Promise((resolve, reject) => {
    // Later errors concern the response, which reports them itself.
    outgoing.on('error', reject);
    outgoing.once('response', resolve);
    outgoing.end(body);
  });
}

/** How far a request has come: to the host, which has accepted a connection, or securely to the server. */
function watchProgress(outgoing: http.ClientRequest): () => 'nowhere' | 'host' | 'server' {
  let reached: 'nowhere' | 'host' | 'server' = 'nowhere';
  outgoing.once('socket', (socket) => {
    if (!socket.connecting) {
      reached = 'server';
      return;
    }
    const secure = 'encrypted' in socket;
    socket.once('connect', () => (reached = secure ? 'host' : 'server'));
    if (secure) socket.once('secureConnect', () => (reached = 'server'));
  });
  return () => reached;
}

async function readText(response: http.IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(chunk);
  const body = Buffer.concat(chunks);
  if (response.headers['content-encoding'] !== 'gzip') return body.toString('utf8');
  const { gunzip } = await import('node:zlib');
  return (await promisify(gunzip)(body)).toString('utf8');
}
