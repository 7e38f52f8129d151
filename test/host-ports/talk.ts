import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { promisify } from 'node:util';

const TALKER = `${import.meta.dirname}/talker.ts`;

export type Question = readonly [
  protocol: 'tcp' | 'udp',
  address: string,
  port: number,
  ownPort?: number,
  ownAddress?: string,
];

/** Asks servers from within a namespace, all at once; returns their answers: `LABEL CLIENT-ADDRESS`. */
export async function ask(netns: string, ...questions: Question[]): Promise<string[]> {
  const args = ['netns', 'exec', netns, process.execPath, TALKER, 'ask', JSON.stringify(questions)];
  const { stdout } = await promisify(execFile)('ip', args);
  return JSON.parse(stdout) as string[];
}

/** A server for TCP and UDP inside a namespace, until disposed of. */
export class Server implements Disposable {
  readonly #process: ChildProcess;

  private constructor(process: ChildProcess) {
    this.#process = process;
  }

  static async start(netns: string, label: string, port: number, host?: string): Promise<Server> {
    const args = ['netns', 'exec', netns, process.execPath, TALKER, 'serve', label, `${port}`];
    const child = spawn('ip', [...args, ...(host === undefined ? [] : [host])], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    await once(child.stdout, 'data');
    return new Server(child);
  }

  [Symbol.dispose](): void {
    this.#process.kill('SIGKILL');
  }
}
