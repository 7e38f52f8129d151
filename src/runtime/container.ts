import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readFileSync, rmSync } from 'node:fs';
import { codeOf, FlatnetError } from '../error.ts';
import { isAlive, type ProcessId } from '../linux/process.ts';
import { inSandbox } from './sandbox.ts';

/** A program in a sandbox's namespaces: shares its port space, loopback, hostname and process tree. */
export type ContainerOptions = {
  readonly name: string;
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly cwd: string;
  /** Receives both output streams, appended. */
  readonly logFile: string;
  /** Receives the exit status when the program ends. */
  readonly exitFile: string;
};

export type ContainerState =
  | { readonly state: 'running' }
  | { readonly state: 'exited'; readonly exitCode: number }
  | { readonly state: 'stopped' };

/**
 * Runs the program in the background of the sandbox, where the pause process adopts it; the caller's shell
 * exits at once.
 */
const WRAPPER = `cd "$2" || exit
(exit_file=$1; shift 2; "$@"; echo $? >"$exit_file.new"; mv "$exit_file.new" "$exit_file") &`;

/** Starts the container's program; resolves when it runs. It is not restarted when it ends. */
export async function startContainer(sandbox: ProcessId, options: ContainerOptions): Promise<void> {
  rmSync(options.exitFile, { force: true });
  const log = openSync(options.logFile, 'a', 0o600);
  const words = ['sh', '-c', WRAPPER, options.name, options.exitFile, options.cwd, ...options.argv];
  const [file, args] = inSandbox(sandbox, words);
  try {
    const child = spawn(file, args, {
      detached: true,
      stdio: ['ignore', log, log],
      env: { ...options.env },
      cwd: '/',
    });
    const [status] = await once(child, 'exit');
    if (status === 0) return;
  } finally {
    closeSync(log);
  }
  // The log is removed with a pod whose creation failed, so the error contains its last line.
  const why = readFileSync(options.logFile, 'utf8').trimEnd().split('\n').at(-1);
  throw new FlatnetError(why || 'did not start', {
    code: 'IO',
    operation: 'start container',
    object: options.name,
  });
}

export function containerState(sandbox: ProcessId, exitFile: string): ContainerState {
  try {
    return { state: 'exited', exitCode: Number.parseInt(readFileSync(exitFile, 'utf8'), 10) };
  } catch (error) {
    if (codeOf(error) !== 'ENOENT') throw error;
  }
  return isAlive(sandbox) ? { state: 'running' } : { state: 'stopped' };
}
