import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { eventually } from '../../store/servers.ts';

/** A program that runs until it is stopped; it ends with the tests, even if they are killed. */
export class Service {
  readonly #argv: readonly string[];
  readonly #log: string;
  #child: ChildProcess | undefined;

  /** `argv` may begin with commands that enter namespaces. What the program says is appended to `log`. */
  constructor(argv: readonly string[], log: string) {
    this.#argv = argv;
    this.#log = log;
  }

  get runs(): boolean {
    return this.#child !== undefined && this.#child.exitCode === null && this.#child.signalCode === null;
  }

  start(): void {
    const log = openSync(this.#log, 'a');
    const argv = ['--pdeathsig=KILL', ...this.#argv];
    // In a group of its own, so that a terminal's Ctrl-C is for the tests alone, which end it in order.
    this.#child = spawn('setpriv', argv, { stdio: ['ignore', log, log], detached: true });
    closeSync(log);
  }

  /** Waits until `check` holds. Throws with the end of the log if the program ends before. */
  async until(check: () => boolean | Promise<boolean>, patience = 120_000): Promise<void> {
    const holds = async (): Promise<boolean> => {
      if (!this.runs) throw new Error(`${this.#argv.join(' ')} failed: ${this.tail()}`);
      return check();
    };
    await eventually(holds, patience);
  }

  /** The program, or the one process that it is the parent of: `nsenter --pid` forks. */
  async pid(): Promise<number> {
    return eventually(() => childOf(this.#child?.pid ?? 0));
  }

  async stop(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    const child = this.#child;
    if (!child || !this.runs) return;
    const ended = once(child, 'exit');
    child.kill(signal);
    await ended;
  }

  /** Ends its child, and waits until it has followed. */
  async stopChild(signal: NodeJS.Signals): Promise<void> {
    const child = this.#child;
    if (!child || !this.runs) return;
    const ended = once(child, 'exit');
    process.kill(await this.pid(), signal);
    await ended;
  }

  tail(): string {
    return readFileSync(this.#log, 'utf8').slice(-3000);
  }
}

function childOf(pid: number): number | undefined {
  const [first] = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ');
  return first ? Number(first) : undefined;
}
