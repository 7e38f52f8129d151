import http from 'node:http';
import { messageOf } from '../../error.ts';
import type { Log } from '../../log.ts';
import type { Api } from './api.ts';
import { EtcdError, malformed } from './errors.ts';
import { Message } from './message.ts';

// etcd's largest gRPC message: --max-request-bytes plus 512 KiB. Base64 makes it a third longer.
const MAX_MESSAGE_BYTES = 2 * 1024 * 1024;
const MAX_BODY_BYTES = Math.ceil(MAX_MESSAGE_BYTES / 3) * 4 + 64 * 1024;

// TCP keep-alive, so that a client that vanished silently does not keep its watch.
const KEEP_ALIVE = { keepAlive: true, keepAliveInitialDelay: 10_000 };

/** Creates an HTTP server for the API; it is not listening yet. */
export function createHttpServer(api: Api, log: Log): http.Server {
  const server = http.createServer(KEEP_ALIVE, (request, response) => {
    answer(api, request, response).catch((error: unknown) => refuse(request, response, error, log));
  });
  // An agent's requests may be hours apart.
  server.keepAliveTimeout = 0;
  server.requestTimeout = 30_000;
  return server;
}

async function answer(api: Api, request: http.IncomingMessage, response: http.ServerResponse): Promise<void> {
  const path = request.url?.split('?', 1)[0] ?? '';
  if (request.method === 'GET') {
    const page = api.get.get(path);
    if (!page) return sendText(response, api.post.has(path) ? 405 : 404);
    return sendJson(response, 200, page());
  }
  const handler = api.post.get(path);
  if (request.method !== 'POST') return sendText(response, 405);
  if (!handler && path !== '/v3/watch') return sendText(response, 404);
  const message = parse(await readBody(request));
  if (handler) sendJson(response, 200, handler(message));
  else api.watch(message, response);
}

async function readBody(request: http.IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request) {
    size += chunk.length;
    // An oversized body is read to its end and discarded, so that the client receives the error.
    if (size <= MAX_BODY_BYTES) chunks.push(chunk);
  }
  if (size <= MAX_BODY_BYTES) return Buffer.concat(chunks).toString('utf8');
  throw new EtcdError(8, `grpc: received message larger than max (${size} vs. ${MAX_BODY_BYTES})`);
}

function parse(text: string): Message {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw malformed(messageOf(error));
  }
  return new Message(value);
}

function refuse(
  request: http.IncomingMessage,
  response: http.ServerResponse,
  error: unknown,
  log: Log,
): void {
  if (response.headersSent || (request.destroyed && !request.complete)) {
    response.destroy();
    return;
  }
  if (error instanceof EtcdError) {
    sendJson(response, error.status, error);
    return;
  }
  // A full disk, a damaged file: the write did not happen and may be retried.
  log.error({ path: request.url, error: messageOf(error) }, 'store request failed');
  sendJson(response, 503, new EtcdError(14, `etcdserver: ${messageOf(error)}`));
}

function sendJson(response: http.ServerResponse, status: number, value: object): void {
  const text = JSON.stringify(value);
  const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) };
  response.writeHead(status, headers).end(text);
}

function sendText(response: http.ServerResponse, status: number): void {
  response.writeHead(status, { 'content-type': 'text/plain' }).end(`${http.STATUS_CODES[status]}\n`);
}
