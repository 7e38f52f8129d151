import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Readable, Writable } from 'node:stream';
import { withNetns } from '../../src/linux/netns.ts';

/** A line that no program prints: the status of the shell's last script follows. */
const END = '\n=== ';

/**
 * A shell in a network namespace, which starts the programs to be measured. Node's own `spawn` takes 1.7 ms
 * of the benchmark's only thread for a program that does nothing: it copies the page tables of a large
 * process. A shell takes 0.5 ms, about as much as a container runtime.
 */
export class Shell implements AsyncDisposable {
  readonly #child: ChildProcessByStdio<Writable, Readable, null>;
  #output = '';
  #answered: () => void = () => {};

  constructor(netns: string) {
    const env = { PATH: process.env.PATH };
    this.#child = withNetns(netns, () => spawn('sh', { env, stdio: ['pipe', 'pipe', 'inherit'] }));
    this.#child.stdout.setEncoding('utf8').on('data', (text: string) => {
      this.#output += text;
      if (/\n=== \d+\n$/.test(this.#output)) this.#answered();
    });
  }

  /** Runs a script, one at a time; rejects with its output unless its status is 0. */
  async run(script: string): Promise<void> {
    const answer = Promise.withResolvers<void>();
    this.#answered = answer.resolve;
    this.#child.once('exit', answer.reject);
    this.#output = '';
    this.#child.stdin.write(`${script}\nprintf '\\n=== %s\\n' $?\n`);
    await answer.promise;
    this.#child.off('exit', answer.reject);
    const [output = '', status] = this.#output.split(END);
    if (status !== '0\n') throw new Error(`${output}${script.slice(0, 500)}: ${status}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.stdin.end();
    if (this.#child.exitCode === null) await once(this.#child, 'exit');
  }
}

/** A word of a script. */
export function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
