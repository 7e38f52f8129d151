import { connect } from 'node:net';
import { FlatnetError, messageOf } from '../../error.ts';

/**
 * Asks an agent: one request of the local API on its unix socket. Throws AGENT_UNREACHABLE when nobody listens or no
 * answer comes within `timeoutMs`, and USAGE or INTERNAL with the agent's own message when it refuses.
 */
export async function askAgent<T>(
  socketPath: string,
  request: Readonly<Record<string, unknown>>,
  timeoutMs = 10_000,
): Promise<T> {
  const line = await exchange(socketPath, `${JSON.stringify(request)}\n`, timeoutMs);
  const reply = JSON.parse(line) as T & { error?: { message: string } };
  if (reply.error)
    throw new FlatnetError(reply.error.message, { code: 'INTERNAL', operation: String(request.op) });
  return reply;
}

function exchange(path: string, line: string, timeoutMs: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const fail = (text: string, cause?: unknown): void => {
      socket.destroy();
      reject(
        new FlatnetError(text, {
          code: 'AGENT_UNREACHABLE',
          operation: 'ask agent',
          object: path,
          fix: 'see that the agent of this node runs',
          cause,
        }),
      );
    };
    let text = '';
    const socket = connect(path, () => socket.end(line));
    socket.setEncoding('utf8');
    socket.setTimeout(timeoutMs, () => fail(`no answer within ${timeoutMs} ms`));
    socket.on('data', (chunk: string) => {
      text += chunk;
    });
    socket.on('error', (cause) => fail(messageOf(cause), cause));
    socket.on('end', () => {
      if (text === '') fail('it closed the connection without an answer');
      else resolve(text);
    });
  });
}
