import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { pause } from '../async/pause.ts';
import { codeOf, FlatnetError, messageOf } from '../error.ts';
import { withNetns } from './netns.ts';

/** Identifies a process for certain: pids are reused, but pid and start time together are not. */
export type ProcessId = {
  readonly pid: number;
  /** Clock ticks since boot, field 22 of /proc/PID/stat (proc(5)). */
  readonly startTime: number;
};

/** The process that has this pid now; undefined when there is none, or a zombie. */
export function identify(pid: number): ProcessId | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The second field is the program's name in parentheses and may hold anything.
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

/** Sends a signal; nothing when the process has ended. */
export function signalProcess(id: ProcessId, signal: NodeJS.Signals): void {
  if (!isAlive(id)) return;
  try {
    process.kill(id.pid, signal);
  } catch (error) {
    if (codeOf(error) !== 'ESRCH') throw error;
  }
}

/** Resolves to false when the process still runs after `timeoutMs`. */
export async function waitForEnd(id: ProcessId, timeoutMs: number): Promise<boolean> {
  const deadline = performance.now() + timeoutMs;
  for (let wait = 2; isAlive(id); wait = Math.min(2 * wait, 50)) {
    if (performance.now() > deadline) return false;
    await pause(wait);
  }
  return true;
}

/** SIGTERM, and SIGKILL to those that still run after `graceMs`. Returns when all have ended. */
export async function terminate(ids: readonly ProcessId[], graceMs: number): Promise<void> {
  for (const id of ids) signalProcess(id, 'SIGTERM');
  await Promise.all(
    ids.map(async (id) => {
      if (await waitForEnd(id, graceMs)) return;
      await killNow([id]);
    }),
  );
}

/** SIGKILL. Throws TIMEOUT for a process that the kernel does not let go. */
export async function killNow(ids: readonly ProcessId[]): Promise<void> {
  for (const id of ids) signalProcess(id, 'SIGKILL');
  for (const id of ids) {
    if (await waitForEnd(id, 5000)) continue;
    throw new FlatnetError('did not end within 5 s of SIGKILL', {
      code: 'TIMEOUT',
      operation: 'kill',
      object: `process ${id.pid}`,
    });
  }
}

export type DetachedOptions = {
  /** Where both output streams go, appended. */
  readonly logFile: string;
  readonly env: Readonly<Record<string, string>>;
  /** Path of the network namespace to start in. */
  readonly netns?: string;
  /** Default: `/`. */
  readonly cwd?: string;
};

/**
 * Starts a program that outlives this process, in a session of its own. Throws NOT_FOUND when it can't be
 * run.
 */
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
  throw new FlatnetError('ended at once', {
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
 * Every process on this machine, with the inode of its network namespace and its initial environment.
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
      // It ended meanwhile, or it is a kernel thread.
      if (!['ENOENT', 'ESRCH', 'EACCES', 'EPERM'].includes(codeOf(error) ?? '')) throw error;
    }
  }
}

/** This process and those that started it, up to init. */
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
