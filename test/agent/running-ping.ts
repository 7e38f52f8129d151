import { type ChildProcess, spawn } from 'node:child_process';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import type { Ip } from '../../src/ip/address.ts';
import { eventually } from '../store/servers.ts';

const PROGRAM = join(import.meta.dirname, 'running-ping-end.ts');

/** A ping of at least 100 packets per second that runs until its result is requested. */
export class RunningPing {
  readonly #child: ChildProcess;
  readonly #begin = performance.now();
  #output = '';

  /** `within`: the name of a network namespace, or the command that enters it. */
  constructor(t: Pick<TestContext, 'after'>, within: string | readonly string[], to: Ip) {
    const enter = typeof within === 'string' ? ['ip', 'netns', 'exec', within] : within;
    const node = [process.execPath, '--disable-warning=ExperimentalWarning', PROGRAM];
    const [program = '', ...args] = [...enter, ...node, to];
    this.#child = spawn(program, args);
    this.#child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      this.#output += text;
    });
    t.after(() => this.#child.kill('SIGKILL'));
  }

  /** Resolves once a packet has been answered: on an emulated machine, the program is slow to start. */
  async answered(): Promise<void> {
    await eventually(() => this.soFar().sent > 0, 120_000);
  }

  /** Ends it and returns the number of packets sent and the sequence numbers lost. */
  async end(): Promise<{ sent: number; lost: number[]; seconds: number }> {
    const seconds = (performance.now() - this.#begin) / 1000;
    const closed = new Promise((resolve) => this.#child.once('close', resolve));
    this.#child.kill('SIGINT');
    await closed;
    return { ...this.soFar(), seconds };
  }

  /** The same for the packets up to the last answered one. */
  soFar(): { sent: number; lost: number[] } {
    const answered = new Set(
      [...this.#output.matchAll(/icmp_seq=(\d+)\n/g)].map(([, sequence]) => Number(sequence)),
    );
    // The last packet may have been in flight.
    const sent = Math.max(0, ...answered);
    const lost = Array.from({ length: sent }, (_, i) => i + 1).filter((sequence) => !answered.has(sequence));
    return { sent, lost };
  }
}
