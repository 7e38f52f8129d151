import { execFile, execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { SILENT } from '../../src/log.ts';
import type { Contribution } from '../../src/state/contributions.ts';
import { diff } from '../../src/state/diff.ts';
import type { Change, Item, KernelState } from '../../src/state/item.ts';
import { keyOf } from '../../src/state/item.ts';
import { Kernel } from '../../src/state/kernel.ts';
import type { ReconcilerOptions } from '../../src/state/options.ts';
import { Reconciler } from '../../src/state/reconciler.ts';
import type { Report } from '../../src/state/reporter.ts';
import { type Plan, selfOf } from '../backends/cluster.ts';
import { asOne } from '../desired/composed.ts';
import { compose } from './compose.ts';

/** For `skip`: why kernel tests can't run here; in CI they must. */
export const NO_KERNEL: string | false = process.env.CI ? false : obstacle();

function obstacle(): string | false {
  if (process.getuid?.() !== 0) return 'needs root';
  const path = `${process.env.PATH ?? ''}:/usr/sbin:/sbin`.split(':');
  const missing = Object.entries({
    ip: 'iproute2',
    bridge: 'iproute2',
    nft: 'nftables',
    ping: 'iputils-ping',
  })
    .filter(([program]) => !path.some((directory) => existsSync(`${directory}/${program}`)))
    .map(([, debian]) => debian);
  return missing.length > 0 && `install ${[...new Set(missing)].join(' ')}`;
}

/** How many times longer everything may take in an emulated machine, whose kernel may load modules first. */
const PATIENCE = process.env.FLATNET_EMULATED ? 12 : 1;

let count = 0;

/**
 * A network namespace with the underlay `eth0` of a node of a plan, by default node 0, and pods' veths.
 * Deleted when disposed.
 */
export class Namespace implements Disposable {
  readonly name = `fn-state-${process.pid}-${count++}`;
  readonly path = `/run/netns/${this.name}`;

  readonly #addresses: readonly string[];

  constructor(plan: Plan, pods: readonly string[] = [], index = 0) {
    execFileSync('ip', ['netns', 'add', this.name]);
    this.#addresses = Object.entries(selfOf(plan, index).underlay.addresses).map(([family, address]) =>
      family === '4' ? `${address}/16` : `${address}/64 nodad`,
    );
    this.ip('link add eth0 type veth peer name wire');
    this.ip('link set wire up');
    this.#configure();
    for (const pod of pods) this.ip(`link add ${pod} type veth peer name c-${pod}`);
  }

  /** Moves the other end of this namespace's wire into another one, as its underlay. */
  join(other: Namespace): void {
    other.ip('link del eth0');
    this.ip(`link set wire netns ${other.name} name eth0`);
    other.#configure();
  }

  #configure(): void {
    // As on hosts with static addresses: IPv6 addresses stay when the link goes down.
    this.run('sysctl', '-qw', 'net/ipv6/conf/eth0/keep_addr_on_down=1');
    this.ip('link set eth0 up');
    for (const address of this.#addresses) this.ip(`address add ${address} dev eth0`);
  }

  /** Runs a program inside and returns its output. */
  run(program: string, ...args: string[]): string {
    return execFileSync('ip', ['netns', 'exec', this.name, program, ...args], {
      encoding: 'utf8',
      stdio: 'pipe',
    });
  }

  /** The same without blocking this process, which may have misses to answer. */
  async start(program: string, ...args: string[]): Promise<string> {
    const { stdout } = await promisify(execFile)('ip', ['netns', 'exec', this.name, program, ...args]);
    return stdout;
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

/** A running reconciler of a namespace, with its reports. */
export class Running implements Disposable {
  readonly reports: Report[] = [];
  readonly warnings: unknown[] = [];
  readonly reconciler: Reconciler;
  readonly #abort = new AbortController();
  readonly #kernel: Kernel;
  #desired: KernelState = new Map();

  /** `made`: called once everything is open but the listeners. */
  constructor(
    namespace: Pick<Namespace, 'path'>,
    options: Partial<ReconcilerOptions> = {},
    made: () => void = () => {},
  ) {
    this.#kernel = new Kernel({ netns: namespace.path });
    this.reconciler = new Reconciler({
      netns: namespace.path,
      log: { ...SILENT, warn: (fields, text) => this.warnings.push({ text, ...fields }) },
      onReport: (report) => this.reports.push(report),
      ...options,
    });
    this.reconciler.allowPrune();
    made();
    this.reconciler.start(this.#abort.signal);
  }

  want(items: readonly Item[]): void {
    this.wantAll(asOne(items));
  }

  wantAll(contributions: readonly Contribution[]): void {
    this.#desired = compose(contributions).items;
    this.reconciler.setDesired(contributions);
  }

  /**
   * Waits until the kernel holds exactly the desired state and the run responsible has reported. Returns the
   * milliseconds it took; throws after `limit` (more in an emulated machine), listing the differences.
   */
  async settled(limit = 3000, ignore: (change: Change) => boolean = () => false): Promise<number> {
    const begin = performance.now();
    for (;;) {
      const left = (await this.differences()).filter((change) => !ignore(change));
      const took = performance.now() - begin;
      if (left.length === 0) {
        await this.reconciler.idle();
        return took;
      }
      if (took > limit * PATIENCE) {
        const texts = left.map(({ action, item }) => `${action} ${keyOf(item)}`);
        throw new Error(
          `not settled after ${limit} ms: ${texts.join(', ')}; ${JSON.stringify(this.warnings)}`,
        );
      }
      // Each look takes an emulated machine a while that its reconciler needs.
      await sleep(10 * PATIENCE);
    }
  }

  /** The remaining differences, as seen by an independent observer. */
  async differences(): Promise<Change[]> {
    return diff(await this.#kernel.read(this.#desired), this.#desired);
  }

  [Symbol.dispose](): void {
    this.#abort.abort();
    this.#kernel.close();
  }
}
