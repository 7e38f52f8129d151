import { createServer, type Server } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { codeOf, FlatnetError, messageOf } from '../../error.ts';

const PATIENCE = 120_000;

/**
 * Runs `work` while no other command changes the same thing. The lock is an abstract unix socket, which the
 * kernel frees however its holder ends, and which leaves no file (unix(7)). Waits for it; throws TIMEOUT
 * after two minutes.
 */
export async function withLock<T>(name: string, work: () => Promise<T>): Promise<T> {
  const server = await take(`\0flatnet-lab/${name}`, name);
  try {
    return await work();
  } finally {
    await new Promise((resolve) => server.close(resolve));
  }
}

async function take(address: string, name: string): Promise<Server> {
  const deadline = performance.now() + PATIENCE;
  for (;;) {
    const server = createServer((socket) => socket.destroy());
    try {
      await new Promise<void>((resolve, reject) => {
        server.once('error', reject);
        server.listen(address, resolve);
      });
      return server;
    } catch (cause) {
      if (codeOf(cause) !== 'EADDRINUSE') {
        throw new FlatnetError(messageOf(cause), { code: 'IO', operation: 'lock', object: name, cause });
      }
      if (performance.now() > deadline) {
        throw new FlatnetError('another flatnet lab command has been working on it for two minutes', {
          code: 'TIMEOUT',
          operation: 'lock',
          object: name,
          fix: 'wait for it or end it, then try again',
        });
      }
      await sleep(50);
    }
  }
}
