import { connect } from 'node:net';
import { codeOf, FlatnetError, messageOf } from '../../error.ts';

/**
 * Sends one request to the agent's local API over its unix socket. Throws AGENT_UNREACHABLE when nothing
 * listens or no answer arrives within `timeoutMs`, INTERNAL for a malformed answer, and the agent's own
 * error, complete, when the agent refuses. `fix`: what to do about an agent that is not there.
 */
export async function ask(
  socketPath: string,
  request: Readonly<Record<string, unknown>>,
  timeoutMs = 10_000,
  fix = 'check that the agent is running on this node',
): Promise<Readonly<Record<string, unknown>>> {
  const line = await exchange(socketPath, `${JSON.stringify(request)}\n`, timeoutMs, fix);
  const reply = parse(line, String(request.op));
  if (reply.error !== undefined) throw FlatnetError.fromJson(reply.error);
  return reply;
}

function parse(line: string, operation: string): Readonly<Record<string, unknown>> {
  try {
    return { ...JSON.parse(line) };
  } catch (cause) {
    throw new FlatnetError(`malformed answer from the agent: ${line.slice(0, 200).trim()}`, {
      code: 'INTERNAL',
      operation,
      cause,
    });
  }
}

function exchange(path: string, line: string, timeoutMs: number, fix: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const fail = (text: string, cause?: unknown): void => {
      socket.destroy();
      reject(
        new FlatnetError(text, {
          code: 'AGENT_UNREACHABLE',
          operation: 'ask agent',
          object: path,
          fix: codeOf(cause) === 'EACCES' ? 'run this command as root' : fix,
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
      if (text === '') fail('the agent closed the connection without answering');
      else resolve(text);
    });
  });
}
