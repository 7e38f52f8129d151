import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdtempSync, openSync, rmSync } from 'node:fs';
import { availableParallelism, loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { codeOf, FlatnetError, messageOf } from '../../src/error.ts';
import { parsePrefixed } from '../../src/ip/cidr.ts';
import { addressReplace } from '../../src/linux/address.ts';
import { linkAdd, linkSet } from '../../src/linux/link/change.ts';
import { linkGet } from '../../src/linux/link/link.ts';
import { NETLINK_ROUTE, NetlinkSocket } from '../../src/linux/netlink/socket.ts';
import {
  createNetns,
  deleteNetns,
  listNetns,
  netnsPath,
  openNetns,
  withNetns,
} from '../../src/linux/netns.ts';
import { type Row, report } from './report.ts';

/**
 * Namespaces carry the process ID of their benchmark in their names, so that the next run can remove those of
 * a killed one.
 */
const NAME = /^bench-(\d+)-/;

/** The interface index of `lo` in every namespace. */
const LOOPBACK = 1;

/** Grace period for a process to end, in milliseconds. */
const GRACE = 5000;

/**
 * Everything a benchmark creates: a folder, namespaces, processes. Disposing of this object removes all of
 * it.
 */
export class Machine implements AsyncDisposable {
  readonly dir = mkdtempSync(join(tmpdir(), 'flatnet-bench-'));
  readonly #stack = new AsyncDisposableStack();

  constructor() {
    for (const name of listNetns()) {
      const pid = NAME.exec(name)?.[1];
      if (pid !== undefined && !isAlive(Number(pid))) deleteNetns(name);
    }
    this.#stack.defer(() => rmSync(this.dir, { recursive: true, force: true }));
  }

  /** Registers more work for the machine's disposal. */
  defer(work: () => unknown): void {
    this.#stack.defer(async () => void (await work()));
  }

  /** Creates a namespace; returns its path. */
  netns(label: string): string {
    const name = `bench-${process.pid}-${label}`;
    // Registered first: it throws once the machine is disposed.
    this.#stack.defer(() => deleteNetns(name));
    createNetns(name);
    return netnsPath(name);
  }

  /** Starts a program, optionally in a namespace. Its output goes to the file `log` in `dir`. */
  spawn(
    command: readonly string[],
    options: { readonly netns?: string; readonly log: string },
  ): ChildProcess {
    if (this.#stack.disposed) throw new Error('the machine is disposed');
    const fd = openSync(join(this.dir, options.log), 'a');
    // The kernel ends it when this process ends, for whatever reason.
    const start = () => spawn('setpriv', ['--pdeathsig', 'TERM', ...command], { stdio: ['ignore', fd, fd] });
    const child = options.netns === undefined ? start() : withNetns(options.netns, start);
    closeSync(fd);
    this.#stack.defer(() => stop(child, 'SIGTERM'));
    return child;
  }

  /** Starts a server in a namespace; resolves once it has written something: that it serves. */
  async serve(command: readonly string[], netns: string): Promise<void> {
    if (this.#stack.disposed) throw new Error('the machine is disposed');
    const child = withNetns(netns, () =>
      spawn('setpriv', ['--pdeathsig', 'TERM', ...command], { stdio: ['ignore', 'pipe', 'inherit'] }),
    );
    // iperf3 complains of any other.
    this.#stack.defer(() => stop(child, 'SIGKILL'));
    const ended = once(child, 'exit').then(([status]) => {
      throw new Error(`${command.join(' ')}: ${status}`);
    });
    await Promise.race([once(child.stdout, 'data'), ended]);
    child.stdout.resume();
  }

  /** Runs a program in a namespace and returns its output. Throws when it fails. */
  async output(command: readonly string[], netns: string): Promise<string> {
    const child = withNetns(netns, () =>
      spawn('setpriv', ['--pdeathsig', 'TERM', ...command], { stdio: ['ignore', 'pipe', 'inherit'] }),
    );
    const ended = once(child, 'close');
    const text = (await child.stdout.setEncoding('utf8').toArray()).join('');
    await ended;
    if (child.exitCode !== 0) throw new Error(`${command.join(' ')}: ${child.exitCode}\n${text}`);
    return text;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync();
  }
}

/** Runs a benchmark and prints its figures; leaves nothing behind, whatever happens. */
export function benchmark(title: string, measure: (machine: Machine) => Promise<Row[]>): Promise<void> {
  return onMachine(title, async (machine) => report(title, await measure(machine)));
}

/** The same for a benchmark that prints its own figures. */
export async function onMachine(title: string, work: (machine: Machine) => Promise<void>): Promise<void> {
  const [load = 0] = loadavg();
  if (load > availableParallelism()) {
    console.error(`${title}: this machine is busy (load ${load.toFixed(1)}): only the ratios are meaningful`);
  }
  if (process.env.FLATNET_EMULATED) {
    console.error(`${title}: this machine is emulated: only the ratios mean something`);
  }
  const machine = new Machine();
  const stopped = Promise.withResolvers<never>();
  for (const name of ['SIGINT', 'SIGTERM'] as const) {
    process.on(name, () => stopped.reject(new FlatnetError(`stopped by ${name}`, { code: 'INTERNAL' })));
  }
  let status = 1;
  try {
    await Promise.race([work(machine), stopped.promise]);
    status = 0;
  } catch (error) {
    const stack = error instanceof FlatnetError ? undefined : error instanceof Error && error.stack;
    console.error(`${title}: ${stack || messageOf(error)}`);
  } finally {
    await machine[Symbol.asyncDispose]();
  }
  // An interrupted measurement may still be running.
  process.exit(status);
}

export async function stop(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, 'exit');
  child.kill(signal);
  const timer = setTimeout(() => child.kill('SIGKILL'), GRACE);
  await ended;
  clearTimeout(timer);
}

/** Connects two namespaces like two machines: loopback, and `eth0` at both ends, up, with these addresses. */
export async function wire(ends: readonly [End, End]): Promise<void> {
  const [a, b] = ends;
  const fd = openNetns(b.netns);
  try {
    using socket = NetlinkSocket.open(NETLINK_ROUTE, { netns: a.netns });
    await socket.execute(
      linkAdd({ name: 'eth0', data: { kind: 'veth', peer: { name: 'eth0', netns: fd } } }),
    );
  } finally {
    closeSync(fd);
  }
  for (const { netns, address } of ends) {
    using socket = NetlinkSocket.open(NETLINK_ROUTE, { netns });
    const { index } = await socket.get(linkGet('eth0'));
    await socket.execute([...linkSet(LOOPBACK, { up: true }), ...linkSet(index, { up: true })]);
    if (address !== undefined) {
      await socket.execute([addressReplace({ dev: index, address: parsePrefixed(address) })]);
    }
  }
}

/** `address` with its prefix length. */
export type End = { readonly netns: string; readonly address?: string };

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return codeOf(error) !== 'ESRCH';
  }
}
