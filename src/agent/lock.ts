import { join } from 'node:path';
import { FlatnetError } from '../error.ts';
import { Lock } from '../linux/lock.ts';
import { netnsId } from '../linux/netns.ts';
import type { Log } from '../log.ts';

/** The same for all agents of a machine, whatever their configuration says. */
const LOCKS = '/run/flatnet/locks';

/**
 * Keeps a second agent out of this network namespace: two would fight over the same kernel state. Throws
 * AGENT_RUNNING when another agent, of any version, holds the lock.
 */
export async function lockNode(log: Log): Promise<Disposable> {
  const lock = await Lock.tryTake({
    path: join(LOCKS, `agent.${netnsId()}`),
    // Scoped to the network namespace, as are all abstract sockets.
    former: 'flatnet-agent',
    onImpostor: (uid) => log.warn({ uid }, 'the socket @flatnet-agent is not an agent’s and is ignored'),
  });
  if (lock) return lock;
  throw new FlatnetError('another flatnet agent is running in this network namespace', {
    code: 'AGENT_RUNNING',
    operation: 'start agent',
    fix: 'stop it first; one agent serves one node',
  });
}
