import { existsSync, readFileSync } from 'node:fs';
import { pause } from '../../../async/pause.ts';
import { codeOf, FlatnetError, messageOf } from '../../../error.ts';
import { argvOf, identify, isAlive, killNow, type ProcessId, spawnDetached } from '../../../linux/process.ts';
import { BirdControl } from './control.ts';
import type { BirdFiles } from './files.ts';

const START_TIMEOUT = 10_000;

/**
 * Returns the BIRD process that these files belong to; undefined when none runs. The command line shows
 * whether the pid has been reused by another program.
 */
export function runningBird(files: BirdFiles): ProcessId | undefined {
  try {
    const id = identify(Number(readFileSync(files.pid, 'utf8').trim()));
    return id && argvOf(id.pid).includes(files.socket) ? id : undefined;
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}

/**
 * Whether an earlier BIRD left anything to take over. After a regular shutdown (SIGTERM, `birdc down`) it did
 * not: its peers have dropped its routes. It then removes its pid file, as it does for a graceful restart,
 * and its log tells the two apart; a killed BIRD leaves the file.
 */
export function hasPredecessor(files: BirdFiles): boolean {
  if (existsSync(files.pid)) return true;
  if (!existsSync(files.log)) return false;
  const ends = readFileSync(files.log, 'utf8').matchAll(/^\S+ \S+ <INFO> (Started|Shutting down.*)$/gm);
  return [...ends].at(-1)?.[1] !== 'Shutting down';
}

export type Connected = { readonly control: BirdControl; readonly version: string };

/** Connects to a running BIRD; undefined when none runs. One that does not answer is killed. */
export async function adoptBird(files: BirdFiles): Promise<Connected | undefined> {
  const id = runningBird(files);
  if (!id) return undefined;
  try {
    return await BirdControl.open(files.socket);
  } catch {
    await killNow([id]);
    return undefined;
  }
}

/**
 * Starts BIRD as a process that outlives this one; resolves when it answers. With `recover` (`-R`), BIRD
 * takes over the routes an earlier BIRD left in the kernel, and its peers keep theirs, so that no packet is
 * lost. Until all peers are back it changes and announces nothing: see `endRecovery`. Without a predecessor
 * it need not wait. Throws BIRD with BIRD's own message when BIRD exits at once.
 */
export async function startBird(
  program: string,
  files: BirdFiles,
  options: { readonly netns: string | undefined; readonly recover: boolean },
): Promise<Connected> {
  const { netns, recover } = options;
  const config = recover ? files.recovery : files.config;
  const argv = [program, '-f', '-c', config, '-s', files.socket, '-P', files.pid];
  if (recover) argv.push('-R');
  const id = await spawnDetached(argv, {
    logFile: files.stderr,
    env: {},
    ...(netns !== undefined && { netns }),
  });
  const deadline = performance.now() + START_TIMEOUT;
  for (;;) {
    try {
      return await BirdControl.open(files.socket);
    } catch (cause) {
      if (isAlive(id) && performance.now() < deadline) await pause(10);
      else {
        await killNow([id]);
        throw new FlatnetError(lastWords(files) ?? messageOf(cause), {
          code: 'BIRD',
          operation: 'start',
          object: program,
          fix: `see ${files.log}`,
          cause,
        });
      }
    }
  }
}

function lastWords(files: BirdFiles): string | undefined {
  return readFileSync(files.stderr, 'utf8').trim().split('\n').at(-1) || undefined;
}
