import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface, type Interface } from 'node:readline';
import type { TestContext } from 'node:test';
import type { Ip } from '../../src/ip/address.ts';

/** What became of the packets that one end sent to one address. */
export type Flow = {
  sent: number;
  /** Those without an answer, with the time at which they were sent. */
  readonly lost: { readonly sequence: number; readonly at: string }[];
};

export type ProbeEnd = {
  readonly name: string;
  readonly netns: string;
  readonly addresses: readonly Ip[];
};

type Running = { readonly end: ProbeEnd; readonly child: ChildProcess; readonly output: Interface };

const END = join(import.meta.dirname, 'probe-end.ts');

/**
 * UDP packets between all pairs of pods, one a millisecond in each direction, each of which is answered. An
 * answer that is late on a busy machine counts. Costs less processor time than `ping`, which spins at
 * intervals below 10 ms.
 */
export class Probe {
  readonly #ends: readonly Running[];

  private constructor(ends: readonly Running[]) {
    this.#ends = ends;
  }

  /** Resolves when the packets flow. */
  static async start(t: TestContext, ends: readonly ProbeEnd[]): Promise<Probe> {
    const running = await Promise.all(
      ends.map(async (end): Promise<Running> => {
        const others = ends.filter((other) => other !== end).flatMap(({ addresses }) => addresses);
        const node = [process.execPath, '--disable-warning=ExperimentalWarning', END];
        const argv = ['netns', 'exec', end.netns, ...node, ...others];
        const child = spawn('ip', argv, { stdio: ['pipe', 'pipe', 'inherit'] });
        t.after(() => child.kill('SIGKILL'));
        const output = createInterface({ input: child.stdout });
        await lineOf(output);
        return { end, child, output };
      }),
    );
    for (const { child } of running) child.stdin?.write('go\n');
    return new Probe(running);
  }

  /** Ends it. Returns how many packets were sent, and each flow with losses as text. */
  async end(): Promise<{ sent: number; lost: string[] }> {
    const flows = await Promise.all(
      this.#ends.map(async ({ end, child, output }) => {
        const result = lineOf(output);
        child.stdin?.write('end\n');
        const found: (Flow & { to: string })[] = JSON.parse(await result);
        return found.map((flow) => ({ ...flow, from: end.name }));
      }),
    );
    for (const { child } of this.#ends) child.kill('SIGKILL');
    const all = flows.flat();
    const sent = all.reduce((sum, flow) => sum + flow.sent, 0);
    const lost = all
      .filter((flow) => flow.lost.length > 0)
      .map(({ from, to, sent, lost }) => {
        const times = lost.slice(0, 5).map(({ sequence, at }) => `${sequence} at ${at}`);
        return `${from} to ${to}: ${lost.length} of ${sent} (${times.join(', ')})`;
      });
    return { sent, lost };
  }
}

async function lineOf(output: Interface): Promise<string> {
  const [line] = await Promise.race([once(output, 'line'), once(output, 'close')]);
  return line ?? assert.fail('an end of the probe has failed');
}
