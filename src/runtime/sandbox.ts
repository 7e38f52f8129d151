import { type ChildProcess, spawn } from 'node:child_process';
import { FlatnetError, messageOf } from '../error.ts';
import { withNetns } from '../linux/netns.ts';
import { identify, killNow, type ProcessId } from '../linux/process.ts';

export type SandboxOptions = {
  /** Path of the pod's network namespace. */
  readonly netns: string;
  readonly hostname: string;
  /** Environment of the pause process only; marks its owner. */
  readonly env: Readonly<Record<string, string>>;
};

/**
 * The lightest possible pause process: `sleep`, as process 1 of a new pid namespace, holds the pod's
 * namespaces. It ignores SIGCHLD, so the kernel reaps every orphan it adopts (wait(2), NOTES); `env` sets
 * that up, because shells handle SIGCHLD themselves. It takes 1.7 MB; a program compiled by Bun would take
 * 35 MB.
 *
 * /run/netns is hidden from the pod: otherwise `ip` in the pod would complain about every name added there
 * later.
 *
 * The outer shell stays outside the pid namespace, so `$!` is the pid on this machine. Both output streams
 * close once /proc is mounted and the hostname is set: end of file means ready.
 */
const PAUSE = `
sh -c 'mount -t proc proc /proc && mount -t tmpfs pod /run/netns && hostname "$1" && exec env --ignore-signal=CHLD sleep infinity >/dev/null 2>&1' pause "$1" &
echo $!`;

/**
 * Creates a pod's pid, mount, UTS and IPC namespaces in addition to its network namespace, and the process
 * that holds them.
 */
export async function createSandbox(options: SandboxOptions): Promise<ProcessId> {
  const start = (): ChildProcess =>
    spawn('unshare', ['--pid', '--mount', '--uts', '--ipc', 'sh', '-c', PAUSE, 'pause', options.hostname], {
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, ...options.env },
      cwd: '/',
    });
  const { stdout, stderr } = await output(withNetns(options.netns, start));
  const id = identify(Number.parseInt(stdout, 10));
  if (id && !stderr) return id;
  if (id) await killNow([id]);
  throw new FlatnetError(stderr || 'the pause process exited at once', {
    code: 'KERNEL_FEATURE',
    operation: 'create sandbox',
    object: options.hostname,
    fix: 'pods need unshare (util-linux), coreutils 8.31 or newer, and permission to create pid, mount, UTS and IPC namespaces',
  });
}

/** Ends all of the pod's processes: the kernel kills a pid namespace with its process 1. */
export async function destroySandbox(sandbox: ProcessId): Promise<void> {
  await killNow([sandbox]);
}

/** Returns the command that runs `argv` inside the sandbox, for `spawn`. */
export function inSandbox(sandbox: ProcessId, argv: readonly string[]): [file: string, args: string[]] {
  return [
    'nsenter',
    ['--target', `${sandbox.pid}`, '--net', '--pid', '--mount', '--uts', '--ipc', '--', ...argv],
  ];
}

function output(child: ChildProcess): Promise<{ stdout: string; stderr: string }> {
  return new Promise((resolve, reject) => {
    const text = { stdout: '', stderr: '' };
    for (const name of ['stdout', 'stderr'] as const) {
      child[name]?.setEncoding('utf8').on('data', (chunk: string) => {
        text[name] += chunk;
      });
    }
    child.once('error', (cause) =>
      reject(
        new FlatnetError(messageOf(cause), {
          code: 'NOT_FOUND',
          operation: 'create sandbox',
          object: 'unshare',
          fix: 'install util-linux',
          cause,
        }),
      ),
    );
    child.once('close', () => resolve({ stdout: text.stdout, stderr: text.stderr.trim() }));
  });
}
