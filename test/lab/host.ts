import { execFile, execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import type { TestContext } from 'node:test';
import { down } from '../../src/lab/down.ts';

export const FLATNET = resolve(import.meta.dirname, '../../bin/flatnet');
const SHIM = resolve(import.meta.dirname, '../../dist/flatnet-cni');

/** Why labs cannot run here; false if they can, or in CI, where they must. */
export const CANNOT = process.env.CI ? false : cannot();

function cannot(): string | false {
  if (process.geteuid?.() !== 0) return 'needs root';
  if (!existsSync(SHIM)) return "needs the compiled plugin: run 'make shim'";
  return missing('busybox') ? 'needs busybox: apt-get install busybox-static' : false;
}

function missing(program: string): boolean {
  try {
    execFileSync('which', [program], { stdio: 'ignore' });
    return false;
  } catch {
    return true;
  }
}

export type Result = { readonly status: number; readonly stdout: string; readonly stderr: string };

/** Runs the program as a user does, with its output in a pipe. */
export function flatnet(...args: string[]): Promise<Result> {
  return run(FLATNET, args);
}

/** The same with fewer privileges, using setpriv(1). */
export function weakened(how: readonly string[], ...args: string[]): Promise<Result> {
  return run('setpriv', [...how, FLATNET, ...args]);
}

function run(file: string, args: readonly string[]): Promise<Result> {
  return new Promise((done) => {
    execFile(
      file,
      args,
      { timeout: process.env.FLATNET_EMULATED ? 600_000 : 60_000, maxBuffer: 1 << 26 },
      (error, stdout, stderr) => {
        const status = error === null ? 0 : typeof error.code === 'number' ? error.code : -1;
        done({ status, stdout, stderr });
      },
    );
  });
}

/** Runs commands of one lab, which is always removed when the test ends. */
export class TestLab {
  readonly name: string;

  constructor(t: Pick<TestContext, 'after'> | { after(work: () => Promise<void>): void }, suffix: string) {
    this.name = `t${process.pid}${suffix}`;
    t.after(async () => {
      await down(this.name);
    });
  }

  /** Runs `lab COMMAND… --name LAB …`; options go before a `--`. */
  run(...args: string[]): Promise<Result> {
    const at = args.includes('--') ? args.indexOf('--') : args.length;
    return flatnet('lab', ...args.slice(0, at), '--name', this.name, ...args.slice(at));
  }

  /** Like `run`; throws the command's output if it fails. */
  async ok(...args: string[]): Promise<string> {
    const { status, stdout, stderr } = await this.run(...args);
    if (status === 0) return stdout;
    throw new Error(`${args.join(' ')} ended with ${status}: ${stderr}${stdout}`);
  }

  async json<T>(...args: string[]): Promise<T> {
    return JSON.parse(await this.ok(...args, '--json')) as T;
  }
}

/** Traces that a lab might leave on this machine. */
export type Traces = {
  readonly namespaces: readonly string[];
  readonly processes: readonly string[];
  readonly files: readonly string[];
  readonly links: readonly string[];
  readonly mounts: readonly string[];
};

/** Finds everything that carries the lab's name. */
export function traces(lab: string): Traces {
  const ours = (text: string): boolean => text.includes(lab);
  return {
    namespaces: list('/run/netns').filter(ours),
    processes: list('/proc').filter(
      (pid) => /^\d+$/.test(pid) && pid !== `${process.pid}` && mentions(pid, lab),
    ),
    files: [...list('/run/flatnet/labs'), ...list('/run/flatnet'), ...list('/tmp'), ...list('/run')].filter(
      ours,
    ),
    links: list('/sys/class/net').filter(ours),
    mounts: readFileSync('/proc/self/mountinfo', 'utf8').split('\n').filter(ours),
  };
}

function mentions(pid: string, lab: string): boolean {
  try {
    const environ = readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0');
    const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8');
    return environ.includes(`FLATNET_LAB=${lab}`) || command.includes(lab);
  } catch {
    return false;
  }
}

function list(dir: string): string[] {
  try {
    return readdirSync(dir);
  } catch {
    return [];
  }
}

const GC_THRESH = ['ipv4', 'ipv6'].map((family) => `/proc/sys/net/${family}/neigh/default/gc_thresh3`);

export function sysctls(): string[] {
  return GC_THRESH.map((path) => readFileSync(path, 'utf8').trim());
}

/** Runs `ip …` in a namespace, as an oracle. */
export function ip(netns: string, ...args: string[]): string {
  return execFileSync('ip', ['-n', netns, ...args], { encoding: 'utf8' });
}
