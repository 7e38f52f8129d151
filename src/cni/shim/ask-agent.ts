/** The agent's answer to one CNI call. */
type Reply = { readonly stdout: string; readonly exit: number };

/** For `Bun.connect` on a unix socket, which has half the start-up time of `node:net`. */
type Socket = { write(data: string | Uint8Array): number };
type Handlers = {
  open(socket: Socket): void;
  drain(socket: Socket): void;
  data(socket: Socket, bytes: Buffer): void;
  close(socket: Socket): void;
  error(socket: Socket, error: Error): void;
  connectError(socket: Socket, error: Error): void;
};
/** Bun's, or on Node what stands in for it (tools/bundle/bun-on-node.ts). */
export type Connect = (options: { unix: string; socket: Handlers }) => Promise<unknown>;
declare const Bun: { readonly connect: Connect };

const NEWLINE = 10;

/**
 * Sends one line to the agent and returns its answer. Rejects if there is no valid answer within `timeoutMs`,
 * of which `waitedMs` have already elapsed.
 */
export function askAgent(
  socketPath: string,
  line: string,
  timeoutMs: number,
  waitedMs: number,
): Promise<Reply> {
  return new Promise((resolve, reject) => {
    const timedOut = (): void => reject(new Error(`the agent did not answer within ${timeoutMs} ms`));
    if (waitedMs >= timeoutMs) return timedOut();
    const answer: Buffer[] = [];
    let rest: string | Uint8Array = `${line}\n`;
    const send = (socket: Socket): void => {
      // The socket accepts as many bytes as fit and returns their number.
      const bytes = Buffer.byteLength(rest);
      const sent = Math.max(0, socket.write(rest));
      rest = sent < bytes ? Buffer.from(rest).subarray(sent) : '';
    };
    setTimeout(timedOut, timeoutMs - waitedMs);
    Bun.connect({
      unix: socketPath,
      socket: {
        open: send,
        drain: send,
        data(_socket, bytes) {
          answer.push(bytes);
          if (bytes.at(-1) === NEWLINE) settle();
        },
        close: settle,
        error: (_socket, error) => reject(error),
        connectError: (_socket, error) => reject(unreachable(error)),
      },
    }).catch((error) => reject(unreachable(error)));

    function unreachable(error: Error): Error {
      return new Error(`${socketPath}: ${error.message}`);
    }

    function settle(): void {
      try {
        const reply = JSON.parse(Buffer.concat(answer).toString());
        if (typeof reply.stdout === 'string' && typeof reply.exit === 'number') resolve(reply);
        else reject(new Error(reply.error?.message ?? 'the agent sent a malformed answer'));
      } catch {
        reject(new Error('the agent closed the connection without answering'));
      }
    }
  });
}
