import { existsSync, readFileSync } from 'node:fs';
import { pause } from '../../../async/pause.ts';
import { poll } from '../../../async/poll.ts';
import { within } from '../../../async/within.ts';
import { codeOf, FlatnetError, messageOf } from '../../../error.ts';
import { argvOf, identify, type ProcessId } from '../../../linux/process.ts';
import { BirdControl } from './control.ts';
import type { BirdFiles } from './files.ts';
import type { BirdHost } from './host.ts';

const START_TIMEOUT = 10_000;
/** Milliseconds that a BIRD which is not ours has to answer, busy as it may be, and again to leave. */
const DISMISS_TIMEOUT = 10_000;

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
export async function adoptBird(files: BirdFiles, host: BirdHost): Promise<Connected | undefined> {
  if (!(await host.runs())) return undefined;
  try {
    return await BirdControl.open(files.socket);
  } catch {
    await host.kill();
    return undefined;
  }
}

/**
 * Ends a BIRD that answers at our socket but is not the host's: it runs where the host cannot see it, such as
 * in another container. It keeps its routes, as if it was restarted. Returns whether there was one. Throws
 * BIRD if one may be there still: it does not answer, or does not leave.
 */
export async function dismissBird(files: BirdFiles, timeoutMs = DISMISS_TIMEOUT): Promise<boolean> {
  const found = await openIfThere(files.socket, timeoutMs);
  if (!found) return false;
  using control = found.control;
  // Were this end to close the connection on a timeout, it would look as if BIRD had left.
  control.request('graceful restart', 2 * timeoutMs).catch(() => undefined);
  const hasLeft = control.closed.then(() => true);
  if (await within(timeoutMs, hasLeft, false)) return true;
  throw new FlatnetError(`does not leave within ${timeoutMs} ms`, {
    code: 'BIRD',
    operation: 'end a BIRD that was started elsewhere',
    object: files.socket,
    fix: 'end it: a node has one BIRD',
  });
}

/** Undefined if nothing listens. */
async function openIfThere(socket: string, timeoutMs: number): Promise<Connected | undefined> {
  try {
    return await BirdControl.open(socket, timeoutMs);
  } catch (error) {
    if (error instanceof FlatnetError && ['ENOENT', 'ECONNREFUSED'].includes(error.errno ?? ''))
      return undefined;
    throw error;
  }
}

/** Waits until BIRD has ended; false if it still runs after `timeoutMs`. */
export async function birdEnds(host: BirdHost, timeoutMs: number): Promise<boolean> {
  const ended = async () => ((await host.runs()) ? undefined : true);
  return (await poll(ended, { every: 20, patience: timeoutMs })) ?? false;
}

/**
 * Starts BIRD; resolves when it answers. With `recover` (`-R`), BIRD takes over the routes an earlier BIRD
 * left in the kernel, and its peers keep theirs, so that no packet is lost. Until all peers are back it
 * changes and announces nothing: see `endRecovery`. Without a predecessor it need not wait. Throws BIRD with
 * BIRD's own message when BIRD exits at once.
 */
export async function startBird(
  host: BirdHost,
  files: BirdFiles,
  { recover }: { readonly recover: boolean },
): Promise<Connected> {
  const config = recover ? files.recovery : files.config;
  const args = ['-f', '-c', config, '-s', files.socket, '-P', files.pid];
  await host.start(recover ? [...args, '-R'] : args);
  const deadline = performance.now() + START_TIMEOUT;
  for (;;) {
    try {
      return await BirdControl.open(files.socket);
    } catch (cause) {
      if ((await host.runs()) && performance.now() < deadline) await pause(10);
      else {
        await host.kill();
        const text = lastWords(files) ?? messageOf(cause);
        throw new FlatnetError(text, { code: 'BIRD', operation: 'start', fix: `see ${files.log}`, cause });
      }
    }
  }
}

function lastWords(files: BirdFiles): string | undefined {
  return readFileSync(files.stderr, 'utf8').trim().split('\n').at(-1) || undefined;
}
