import { execFileSync } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Change, diff } from '../../src/state/diff.ts';
import type { Item, KernelState } from '../../src/state/item.ts';
import { Kernel } from '../../src/state/kernel.ts';
import { byKey, keyOf } from '../../src/state/key.ts';
import { Reconciler, type ReconcilerOptions, type Report } from '../../src/state/reconciler.ts';
import { type Plan, selfOf } from '../backends/cluster.ts';

let count = 0;

/** A network namespace with an underlay `eth0` as node 0 of a plan has it, and pods' veths. Gone when disposed. */
export class Namespace implements Disposable {
  readonly name = `fn-state-${process.pid}-${count++}`;
  readonly path = `/run/netns/${this.name}`;

  constructor(plan: Plan, pods: readonly string[] = []) {
    execFileSync('ip', ['netns', 'add', this.name]);
    const { underlay } = selfOf(plan, 0);
    this.ip('link add eth0 type veth peer name wire');
    this.ip('link set wire up');
    // As hosts with configured addresses have it: IPv6 addresses stay when the link goes down.
    this.run('sysctl', '-qw', 'net/ipv6/conf/eth0/keep_addr_on_down=1');
    this.ip('link set eth0 up');
    for (const [family, address] of Object.entries(underlay.addresses)) {
      this.ip(`address add ${address}/${family === '4' ? 16 : 64} dev eth0 ${family === '6' ? 'nodad' : ''}`);
    }
    for (const pod of pods) this.ip(`link add ${pod} type veth peer name c-${pod}`);
  }

  /** Runs a program inside; returns what it printed. */
  run(program: string, ...args: string[]): string {
    return execFileSync('ip', ['netns', 'exec', this.name, program, ...args], {
      encoding: 'utf8',
      stdio: 'pipe',
    });
  }

  ip(command: string): string {
    return this.run('ip', ...command.split(' ').filter(Boolean));
  }

  bridge(command: string): string {
    return this.run('bridge', ...command.split(' ').filter(Boolean));
  }

  [Symbol.dispose](): void {
    execFileSync('ip', ['netns', 'del', this.name]);
  }
}

/** A started reconciler of a namespace, and what it reports. */
export class Running implements Disposable {
  readonly reports: Report[] = [];
  readonly warnings: unknown[] = [];
  readonly reconciler: Reconciler;
  readonly #abort = new AbortController();
  readonly #kernel: Kernel;
  #desired: KernelState = new Map();

  constructor(namespace: Namespace, options: Partial<ReconcilerOptions> = {}) {
    this.#kernel = Kernel.open(namespace.path);
    this.reconciler = new Reconciler({
      netns: namespace.path,
      log: { debug() {}, info() {}, warn: (fields, text) => this.warnings.push({ text, ...fields }) },
      onReport: (report) => this.reports.push(report),
      ...options,
    });
    this.reconciler.allowPrune();
    this.reconciler.start(this.#abort.signal);
  }

  want(items: readonly Item[]): void {
    this.#desired = byKey(items);
    this.reconciler.setDesired(items);
  }

  /** Milliseconds until the kernel holds exactly what is wanted; throws after `limit`, saying what is missing. */
  async settled(limit = 3000, ignore: (change: Change) => boolean = () => false): Promise<number> {
    const begin = performance.now();
    for (;;) {
      const left = (await this.differences()).filter((change) => !ignore(change));
      const took = performance.now() - begin;
      if (left.length === 0) return took;
      if (took > limit) {
        const texts = left.map(({ action, item }) => `${action} ${keyOf(item)}`);
        throw new Error(
          `not settled after ${limit} ms: ${texts.join(', ')}; ${JSON.stringify(this.warnings)}`,
        );
      }
      await sleep(10);
    }
  }

  /** What still differs, as an observer of his own sees it; whether an nft table is the right one only its writer knows. */
  async differences(): Promise<Change[]> {
    const actual = await this.#kernel.read(this.#desired);
    return diff(actual, this.#desired).filter(
      ({ action, item }) => item.kind !== 'nft' || action !== 'change',
    );
  }

  [Symbol.dispose](): void {
    this.#abort.abort();
    this.#kernel.close();
  }
}
