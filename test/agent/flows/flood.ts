import { type ChildProcess, spawn } from 'node:child_process';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import type { Ip } from '../../../src/ip/address.ts';
import { eventually } from '../../store/servers.ts';

const PROGRAM = join(import.meta.dirname, 'flood-end.ts');
const PORT = 20_778;

/** What hears datagrams, and who sends some every 2 ms, from one port, whether or not they are answered. */
export class Flood {
  readonly #listener: ChildProcess;
  #output = '';
  readonly #t: Pick<TestContext, 'after'>;

  private constructor(t: Pick<TestContext, 'after'>, listener: ChildProcess) {
    this.#t = t;
    this.#listener = listener;
    listener.stdout?.setEncoding('utf8').on('data', (text: string) => {
      this.#output += text;
    });
  }

  /** Starts to listen, in the network namespace of that name. */
  static async start(t: Pick<TestContext, 'after'>, netns: string): Promise<Flood> {
    const flood = new Flood(t, run(t, netns, 'hear'));
    await eventually(() => flood.#output.includes('ready'), 20_000);
    return flood;
  }

  /** Sends from a network namespace to an address, until the test ends. */
  send(netns: string, to: Ip): void {
    run(this.#t, netns, 'send', to);
  }

  /** When it has heard something, by Date.now: each 10 ms once. */
  get heard(): readonly number[] {
    return [...this.#output.matchAll(/heard (\d+)/g)].map(([, at]) => Number(at));
  }

  /** Stops listening. */
  end(): void {
    this.#listener.kill('SIGKILL');
  }
}

function run(t: Pick<TestContext, 'after'>, netns: string, ...args: readonly string[]): ChildProcess {
  const node = [process.execPath, '--disable-warning=ExperimentalWarning', PROGRAM, ...args, `${PORT}`];
  const child = spawn('ip', ['netns', 'exec', netns, ...node], { stdio: ['ignore', 'pipe', 'inherit'] });
  t.after(() => child.kill('SIGKILL'));
  return child;
}
