import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';

const PROGRAM = '/usr/sbin/dnsmasq';

/** Why tests with dnsmasq are skipped; false when they run. */
export const NO_DNSMASQ =
  process.getuid?.() !== 0 ? 'needs root' : existsSync(PROGRAM) ? false : 'needs dnsmasq-base';

/**
 * A DHCP server at a namespace's `eth0`, and one for names if a port is among the options; it may be started
 * again and again.
 */
export class Dnsmasq implements AsyncDisposable {
  readonly #netns: string;
  readonly #dir: string;
  #process: ChildProcess | undefined;

  /** `dir`: the folder of its files. */
  constructor(netns: string, dir: string) {
    this.#netns = netns;
    this.#dir = dir;
  }

  /** Of all that ran, one after another. */
  get log(): string {
    try {
      return readFileSync(join(this.#dir, 'dnsmasq.log'), 'utf8');
    } catch {
      return '';
    }
  }

  /** Messages of a type that it has seen or sent. */
  count(type: string): number {
    return this.log.split('\n').filter((line) => line.includes(`DHCP${type}(`)).length;
  }

  async start(...options: string[]): Promise<void> {
    // The log goes on where an earlier server's ended.
    const starts = this.#starts;
    const args = [
      '--keep-in-foreground',
      '--conf-file=/dev/null',
      '--user=root',
      '--pid-file=',
      ...(options.some((each) => each.startsWith('--port=')) ? [] : ['--port=0']),
      '--interface=eth0',
      '--bind-interfaces',
      '--no-ping',
      '--dhcp-authoritative',
      `--dhcp-leasefile=${join(this.#dir, 'dnsmasq.leases')}`,
      '--log-dhcp',
      `--log-facility=${join(this.#dir, 'dnsmasq.log')}`,
      ...options,
    ];
    this.#process = spawn('ip', ['netns', 'exec', this.#netns, PROGRAM, ...args], { stdio: 'ignore' });
    await once(this.#process, 'spawn');
    for (const end = performance.now() + 10_000; this.#starts === starts; ) {
      if (performance.now() > end) throw new Error(`dnsmasq does not start: ${this.log}`);
      await new Promise((go) => setTimeout(go, 10));
    }
  }

  get #starts(): number {
    return this.log.split('\n').filter((line) => line.includes(' started')).length;
  }

  /** Makes it forget its leases. */
  forget(): void {
    rmSync(join(this.#dir, 'dnsmasq.leases'), { force: true });
  }

  async stop(): Promise<void> {
    const running = this.#process;
    this.#process = undefined;
    if (!running || running.exitCode !== null) return;
    running.kill('SIGTERM');
    await once(running, 'exit');
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }
}
