import { createServer, type Server } from 'node:net';
import { codeOf, FlatnetError, messageOf } from '../error.ts';

/**
 * Keeps a second agent out of this network namespace: two would fight over the same kernel state. The lock is
 * an abstract unix socket, which is scoped to the network namespace and released however its holder exits
 * (unix(7)).
 */
export class AgentLock implements Disposable {
  readonly #server: Server;

  private constructor(server: Server) {
    this.#server = server;
  }

  /** Throws AGENT_RUNNING when another agent holds the lock. */
  static async take(): Promise<AgentLock> {
    const server = createServer((socket) => socket.destroy());
    await new Promise<void>((resolve, reject) => {
      server.once('error', (cause) =>
        reject(
          codeOf(cause) === 'EADDRINUSE'
            ? new FlatnetError('another flatnet agent is running in this network namespace', {
                code: 'AGENT_RUNNING',
                operation: 'start agent',
                fix: 'stop it first; one agent serves one node',
                cause,
              })
            : new FlatnetError(messageOf(cause), { code: 'IO', operation: 'take the agent lock', cause }),
        ),
      );
      server.listen('\0flatnet-agent', resolve);
    });
    return new AgentLock(server);
  }

  [Symbol.dispose](): void {
    this.#server.close();
  }
}
