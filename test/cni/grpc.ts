import { connect } from 'node:http2';
import { connect as connectSocket } from 'node:net';

/** A call that the server answered with a status other than OK. */
export class GrpcError extends Error {
  /** The gRPC status code, e.g. 5 for NOT_FOUND. */
  readonly status: number;

  constructor(method: string, status: number, message: string) {
    super(`${method}: ${message} (status ${status})`);
    this.status = status;
  }
}

/**
 * Makes one unary gRPC call over a unix socket: a POST whose body and response are each a flag byte, a length
 * and a message. A connection per call is slow, but unaffected by restarts of the server.
 */
export function unary(
  socketPath: string,
  method: string,
  request: Buffer,
  timeoutMs: number,
): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const session = connect('http://localhost', { createConnection: () => connectSocket(socketPath) });
    const fail = (error: Error): void => {
      session.destroy();
      reject(error);
    };
    session.once('error', fail);
    const stream = session.request({
      ':method': 'POST',
      ':path': `/${method}`,
      'content-type': 'application/grpc',
      te: 'trailers',
    });
    const header = Buffer.alloc(5);
    header.writeUInt32BE(request.length, 1);
    const chunks: Buffer[] = [];
    let end: { readonly [name: string]: unknown } = {};
    stream.setTimeout(timeoutMs, () => fail(new Error(`${method}: no answer within ${timeoutMs} ms`)));
    // A call that fails immediately carries its status in the headers.
    stream.on('response', (headers) => {
      end = headers;
    });
    stream.on('trailers', (trailers) => {
      end = { ...end, ...trailers };
    });
    stream.on('data', (chunk: Buffer) => chunks.push(chunk));
    stream.once('error', fail);
    stream.once('close', () => {
      session.close();
      const status = Number(end['grpc-status'] ?? 14);
      if (status === 0) return resolve(Buffer.concat(chunks).subarray(header.length));
      const message = decodeURIComponent(String(end['grpc-message'] ?? 'the connection was lost'));
      reject(new GrpcError(method, status, message));
    });
    stream.end(Buffer.concat([header, request]));
  });
}
