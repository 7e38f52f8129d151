import { createServer, type Server } from 'node:net';
import { poll } from '../../async/poll.ts';
import { codeOf, FlatnetError, messageOf } from '../../error.ts';

const PATIENCE = 120_000;

/**
 * Runs `work` while holding the lock of this name. The lock is an abstract unix socket, which leaves no file
 * and is released by the kernel however its holder ends (unix(7)). Waits for the lock; throws TIMEOUT after
 * two minutes.
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
  const server = await poll(() => tryToTake(address, name), { every: 50, patience: PATIENCE });
  if (server) return server;
  throw new FlatnetError('another flatnet lab command has held the lock for two minutes', {
    code: 'TIMEOUT',
    operation: 'lock',
    object: name,
    fix: 'wait for that command or end it, then try again',
  });
}

/** Returns undefined while another process holds the lock. */
async function tryToTake(address: string, name: string): Promise<Server | undefined> {
  const server = createServer((socket) => socket.destroy());
  try {
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(address, resolve);
    });
    return server;
  } catch (cause) {
    if (codeOf(cause) === 'EADDRINUSE') return undefined;
    throw new FlatnetError(messageOf(cause), { code: 'IO', operation: 'lock', object: name, cause });
  }
}
