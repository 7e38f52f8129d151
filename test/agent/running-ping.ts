import { type ChildProcess, spawn } from 'node:child_process';
import type { TestContext } from 'node:test';
import type { Ip } from '../../src/ip/address.ts';

/** A `ping` of 100 packets a second and more that runs until it is asked what came of it. */
export class RunningPing {
  readonly #child: ChildProcess;
  readonly #begin = performance.now();
  #output = '';

  constructor(t: TestContext, netns: string, to: Ip) {
    this.#child = spawn('ip', ['netns', 'exec', netns, 'ping', '-n', '-i', '0.005', to]);
    this.#child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      this.#output += text;
    });
    t.after(() => this.#child.kill('SIGKILL'));
  }

  /** How many packets were sent and which of them were lost. */
  async end(): Promise<{ sent: number; lost: number[]; seconds: number }> {
    const seconds = (performance.now() - this.#begin) / 1000;
    const closed = new Promise((resolve) => this.#child.once('close', resolve));
    this.#child.kill('SIGINT');
    await closed;
    return { ...this.soFar(), seconds };
  }

  /** The same of the packets up to the last one that was answered. */
  soFar(): { sent: number; lost: number[] } {
    const answered = new Set(
      [...this.#output.matchAll(/icmp_seq=(\d+) ttl=/g)].map(([, sequence]) => Number(sequence)),
    );
    // The last packet may have been on its way.
    const sent = Math.max(0, ...answered);
    const lost = Array.from({ length: sent }, (_, i) => i + 1).filter((sequence) => !answered.has(sequence));
    return { sent, lost };
  }
}
