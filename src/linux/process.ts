import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { pause } from '../async/pause.ts';
import { codeOf, FlatnetError, messageOf } from '../error.ts';
import { withNetns } from './netns.ts';

/** Identifies a process unambiguously: pids are reused, but not together with the start time. */
export type ProcessId = {
  readonly pid: number;
  /** Clock ticks since boot, field 22 of /proc/PID/stat (proc(5)). */
  readonly startTime: number;
};

/** Returns the process that currently has this pid; undefined if there is none or it is a zombie. */
export function identify(pid: number): ProcessId | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The second field is the program's name in parentheses and may contain anything.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    if (fields[0] === 'Z' || fields[0] === 'X') return undefined;
    return { pid, startTime: Number(fields[19]) };
  } catch (error) {
    if (['ENOENT', 'ESRCH'].includes(codeOf(error) ?? '')) return undefined;
    throw error;
  }
}

export function isAlive(id: ProcessId): boolean {
  return identify(id.pid)?.startTime === id.startTime;
}

/** Sends a signal; does nothing if the process has exited. */
export function signalProcess(id: ProcessId, signal: NodeJS.Signals): void {
  if (!isAlive(id)) return;
  try {
    process.kill(id.pid, signal);
  } catch (error) {
    if (codeOf(error) !== 'ESRCH') throw error;
  }
}

/** Waits for a process to exit. Resolves to false if it is still running after `timeoutMs`. */
export async function waitForEnd(id: ProcessId, timeoutMs: number): Promise<boolean> {
  const deadline = performance.now() + timeoutMs;
  for (let wait = 2; isAlive(id); wait = Math.min(2 * wait, 50)) {
    if (performance.now() > deadline) return false;
    await pause(wait);
  }
  return true;
}

/** Sends SIGTERM, then SIGKILL to those still running after `graceMs`. Resolves when all have exited. */
export async function terminate(ids: readonly ProcessId[], graceMs: number): Promise<void> {
  for (const id of ids) signalProcess(id, 'SIGTERM');
  await Promise.all(
    ids.map(async (id) => {
      if (await waitForEnd(id, graceMs)) return;
      await killNow([id]);
    }),
  );
}

/** Sends SIGKILL and waits. Throws TIMEOUT for a process stuck in the kernel. */
export async function killNow(ids: readonly ProcessId[]): Promise<void> {
  for (const id of ids) signalProcess(id, 'SIGKILL');
  for (const id of ids) {
    if (await waitForEnd(id, 5000)) continue;
    throw new FlatnetError('did not exit within 5 s of SIGKILL', {
      code: 'TIMEOUT',
      operation: 'kill',
      object: `process ${id.pid}`,
    });
  }
}

export type DetachedOptions = {
  /** Both output streams are appended to it. */
  readonly logFile: string;
  readonly env: Readonly<Record<string, string>>;
  /** Path of the network namespace to start in. */
  readonly netns?: string;
  /** Default: `/`. */
  readonly cwd?: string;
};

/** Starts a program in its own session, to outlive this process. Throws NOT_FOUND if it can't be run. */
export async function spawnDetached(argv: readonly string[], options: DetachedOptions): Promise<ProcessId> {
  const [file = '', ...args] = argv;
  const log = openSync(options.logFile, 'a', 0o600);
  try {
    const start = (): ChildProcess =>
      spawn(file, args, {
        detached: true,
        stdio: ['ignore', log, log],
        env: { ...process.env, ...options.env },
        cwd: options.cwd ?? '/',
      });
    // A child starts in the namespace of the thread that forks it.
    const child = options.netns === undefined ? start() : withNetns(options.netns, start);
    await started(child, file);
    child.unref();
    const id = child.pid === undefined ? undefined : identify(child.pid);
    if (id) return id;
  } finally {
    closeSync(log);
  }
  throw new FlatnetError('exited immediately', {
    code: 'INTERNAL',
    operation: 'start',
    object: file,
    fix: `see ${options.logFile}`,
  });
}

function started(child: ChildProcess, file: string): Promise<void> {
  return new Promise((resolve, reject) => {
    child.once('spawn', resolve);
    child.once('error', (cause) =>
      reject(
        new FlatnetError(messageOf(cause), { code: 'NOT_FOUND', operation: 'start', object: file, cause }),
      ),
    );
  });
}

export type FoundProcess = ProcessId & { readonly netnsId: number; readonly environ: readonly string[] };

/**
 * Yields every process on this machine, with the inode of its network namespace and its initial environment.
 */
export function* allProcesses(): Generator<FoundProcess> {
  for (const name of readdirSync('/proc')) {
    const pid = Number(name);
    if (!Number.isInteger(pid)) continue;
    const id = identify(pid);
    if (!id) continue;
    try {
      const netnsId = Number(/\d+/.exec(readlinkSync(`/proc/${pid}/ns/net`))?.[0]);
      const environ = readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0');
      yield { ...id, netnsId, environ };
    } catch (error) {
      // It has exited in the meantime, or is a kernel thread.
      if (!['ENOENT', 'ESRCH', 'EACCES', 'EPERM'].includes(codeOf(error) ?? '')) throw error;
    }
  }
}

/** A process's command line; empty if it has ended or is a kernel thread. */
export function argvOf(pid: number): string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').slice(0, -1);
  } catch (error) {
    if (['ENOENT', 'ESRCH'].includes(codeOf(error) ?? '')) return [];
    throw error;
  }
}

/** Returns the pids of this process and its ancestors, up to init. */
export function ancestors(): Set<number> {
  const found = new Set<number>();
  for (let pid = process.pid; pid > 0 && !found.has(pid); ) {
    found.add(pid);
    try {
      pid = Number(/^PPid:\s*(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0);
    } catch {
      break;
    }
  }
  return found;
}
