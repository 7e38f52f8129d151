import { join } from 'node:path';
import { poll } from '../../async/poll.ts';
import { FlatnetError } from '../../error.ts';
import { Lock } from '../../linux/lock.ts';
import { RUN } from './paths.ts';

const PATIENCE = 120_000;

/**
 * Runs `work` while holding the lock of this name. Waits for the lock; throws TIMEOUT after two minutes.
 */
export async function withLock<T>(name: string, work: () => Promise<T>): Promise<T> {
  using _lock = await take(name);
  return await work();
}

async function take(name: string): Promise<Lock> {
  const options = {
    path: join(RUN, 'locks', `lab.${encodeURIComponent(name)}`),
    former: `flatnet-lab/${name}`,
  };
  const lock = await poll(() => Lock.tryTake(options), { every: 50, patience: PATIENCE });
  if (lock) return lock;
  throw new FlatnetError('another flatnet lab command has held the lock for two minutes', {
    code: 'TIMEOUT',
    operation: 'lock',
    object: name,
    fix: 'wait for that command or end it, then try again',
  });
}
