import { type ChildProcess, spawn } from 'node:child_process';
import type { Readable } from 'node:stream';
import { within } from '../../async/within.ts';
import type { Command } from '../../backends/extension.ts';
import { expandWords } from '../../cluster/command.ts';
import { codeOf, FlatnetError, messageOf } from '../../error.ts';
import { excerpt } from '../../problem.ts';

export type Invocation = {
  /** What the command is told: in its environment and, without a shell, in place of `$NAME`. */
  readonly variables: Readonly<Record<string, string>>;
  /** Its standard input, to which a line's end is added, as flannel does. */
  readonly input: string;
  /** Seconds. */
  readonly timeout: number;
  /** Ends the command. */
  readonly signal: AbortSignal;
};

/** Bytes kept of what a command writes, to each of its outputs. */
const OUTPUT_LIMIT = 64 * 1024;
/** Milliseconds from SIGTERM to SIGKILL. */
const GRACE = 2000;
/** Milliseconds after its end within which a command's outputs end, unless something it left holds them. */
const DRAIN = 200;

type End = { readonly code: number | null; readonly signal: NodeJS.Signals | null };

/**
 * Runs a command in a process group of its own; returns what it has written to its standard output, trimmed.
 * Throws NOT_FOUND if there is no such program, TIMEOUT, and COMMAND_FAILED with its status and the end of
 * its standard error.
 */
export async function runCommand(command: Command, invocation: Invocation): Promise<string> {
  const { variables, input, timeout, signal } = invocation;
  signal.throwIfAborted();
  const argv = command.words ? expandWords(command.words, variables) : ['/bin/sh', '-c', command.text];
  const [file = '', ...args] = argv;
  const child = start(command, file, args, variables);
  const outputs = [new Output(child.stdout), new Output(child.stderr)] as const;
  // It need not read its input.
  child.stdin?.on('error', () => {}).end(`${input}\n`);
  let isLate = false;
  const end = (): void => void endGroup(child);
  const timer = setTimeout(() => {
    isLate = true;
    end();
  }, timeout * 1000);
  signal.addEventListener('abort', end, { once: true });
  const unwatch = (): void => {
    clearTimeout(timer);
    signal.removeEventListener('abort', end);
  };
  try {
    const { code, signal: killer } = await ended(child, command, file);
    signal.throwIfAborted();
    // From here on, nothing undoes what it has done, or ends what it has left.
    unwatch();
    await within(DRAIN, Promise.all(outputs.map(({ done }) => done)), undefined);
    const [stdout, stderr] = outputs;
    const said = excerpt(lastLines(stderr.text) || lastLines(stdout.text));
    if (isLate) {
      const fix = `make it faster, or raise Backend.timeout`;
      throw failure(command, `ended after ${timeout} s${said && `, having said: ${said}`}`, 'TIMEOUT', fix);
    }
    if (code !== 0) {
      const how = code === null ? `was ended by ${killer}` : `exited with status ${code}`;
      throw failure(command, said ? `${how}: ${said}` : how, 'COMMAND_FAILED');
    }
    if (stdout.isCut) throw failure(command, `writes more than ${OUTPUT_LIMIT} bytes`, 'COMMAND_FAILED');
    return stdout.text.trim();
  } finally {
    unwatch();
    for (const output of outputs) output.close();
  }
}

/** The agent's own environment may hold what a command is not to see, such as a password. */
function start(
  command: Command,
  file: string,
  args: readonly string[],
  variables: Readonly<Record<string, string>>,
): ChildProcess {
  const { PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', HOME = '/root' } =
    process.env;
  try {
    return spawn(file, args, { cwd: '/', detached: true, env: { PATH, HOME, ...variables } });
  } catch (error) {
    throw failure(command, messageOf(error), 'COMMAND_FAILED');
  }
}

function ended(child: ChildProcess, command: Command, file: string): Promise<End> {
  return new Promise((resolve, reject) => {
    child.once('exit', (code, signal) => resolve({ code, signal }));
    child.once('error', (error) => {
      const text = codeOf(error) === 'ENOENT' ? `there is no program ${file}` : messageOf(error);
      reject(failure(command, text, codeOf(error) === 'ENOENT' ? 'NOT_FOUND' : 'COMMAND_FAILED'));
    });
  });
}

async function endGroup(child: ChildProcess): Promise<void> {
  signalGroup(child, 'SIGTERM');
  const exit = new Promise<boolean>((resolve) => child.once('exit', () => resolve(true)));
  await within(GRACE, exit, false);
  // Also whatever it has started and that does not heed SIGTERM.
  signalGroup(child, 'SIGKILL');
}

function signalGroup({ pid }: ChildProcess, signal: NodeJS.Signals): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, signal);
  } catch (error) {
    if (codeOf(error) !== 'ESRCH') throw error;
  }
}

function failure(
  { name }: Command,
  text: string,
  code: 'COMMAND_FAILED' | 'NOT_FOUND' | 'TIMEOUT',
  fix?: string,
): FlatnetError {
  return new FlatnetError(text, { code, object: `Backend.${name}`, ...(fix !== undefined && { fix }) });
}

function lastLines(text: string): string {
  return text.trim().split('\n').slice(-3).join('; ');
}

/** What a process writes, up to a limit; the rest is read and dropped, so that it is not held up. */
class Output {
  readonly done: Promise<void>;
  readonly #stream: Readable | null;
  #chunks: Buffer[] = [];
  #size = 0;

  constructor(stream: Readable | null) {
    this.#stream = stream;
    this.done = new Promise((resolve) => stream?.once('close', resolve));
    stream?.on('data', (chunk: Buffer) => {
      this.#size += chunk.length;
      if (this.#size - chunk.length < OUTPUT_LIMIT) this.#chunks.push(chunk);
    });
  }

  get isCut(): boolean {
    return this.#size > OUTPUT_LIMIT;
  }

  get text(): string {
    return Buffer.concat(this.#chunks).toString('utf8', 0, OUTPUT_LIMIT);
  }

  close(): void {
    this.#stream?.destroy();
  }
}
