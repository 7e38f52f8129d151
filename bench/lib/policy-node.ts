import { setTimeout as sleep } from 'node:timers/promises';
import { parseIp } from '../../src/ip/address.ts';
import { SILENT } from '../../src/log.ts';
import { compilePolicies } from '../../src/policy/compile/compile.ts';
import type { PolicyFacts } from '../../src/policy/compile/facts.ts';
import { Memory } from '../../src/policy/compile/memory.ts';
import { Reconciler } from '../../src/state/reconciler.ts';
import type { Machine } from './machine.ts';
import { quoted, Shell } from './shell.ts';

export const [CLIENT, SERVER] = [parseIp('10.0.0.1'), parseIp('10.0.0.2')];
/** The benchmarks' datagrams and connections are for it (pingpong.ts, connections.ts). */
export const PORT = 7007;
const EXCHANGES = 3000;
const CONNECTIONS = 1000;
const [PINGPONG, OPENER] = ['./pingpong.ts', './connections.ts'].map(
  (name) => new URL(name, import.meta.url).pathname,
) as [string, string];

/** What it took until the kernel held the policies: milliseconds, and elements that changed. */
export type Applied = { readonly compiled: number; readonly took: number; readonly changes: number };

/** A node with two routed pods and a reconciler for its policies. */
export class PolicyNode {
  readonly netns: string;
  readonly #machine: Machine;
  readonly #client: string;
  readonly #memory = new Memory();
  readonly #reconciler: Reconciler;

  static async create(machine: Machine, name: string): Promise<PolicyNode> {
    const node = new PolicyNode(machine, name);
    await node.#wire(name);
    return node;
  }

  private constructor(machine: Machine, name: string) {
    this.#machine = machine;
    this.netns = machine.netns(name);
    this.#client = machine.netns(`${name}-client`);
    this.#reconciler = new Reconciler({ netns: this.netns, log: SILENT, onReport: () => {} });
    machine.defer(() => this.#reconciler[Symbol.dispose]());
    this.#reconciler.allowPrune();
  }

  async apply(facts: PolicyFacts): Promise<Applied> {
    const start = performance.now();
    const { tables, directory, pods } = compilePolicies(facts, this.#memory);
    const compiled = performance.now() - start;
    this.#reconciler.setDesired([
      { owner: { part: 'wiring', name: 'policies' }, items: [...tables, ...directory], warnings: [] },
      ...[...pods].map(([{ name }, { items }]) => ({
        owner: { part: 'pod', name } as const,
        items,
        warnings: [],
      })),
    ]);
    const { done } = await this.#reconciler.run();
    return { compiled, took: performance.now() - start, changes: done.length };
  }

  /** Microseconds, the median; `new`: each a new connection. Both ends on one processor. */
  roundTrip(...what: 'new'[]): Promise<number> {
    return this.#measure(PINGPONG, EXCHANGES, ...what);
  }

  /** TCP connections a second, one after another, at the median. Both ends on one processor. */
  connectionRate(): Promise<number> {
    return this.#measure(OPENER, CONNECTIONS);
  }

  async #measure(program: string, count: number, ...what: readonly string[]): Promise<number> {
    const command = ['taskset', '-c', '0', process.execPath, program, SERVER, `${count}`, ...what];
    return Number(await this.#machine.output(command, this.#client));
  }

  async #wire(name: string): Promise<void> {
    const server = this.#machine.netns(`${name}-server`);
    await using shell = new Shell(this.netns);
    // A namespace without any address takes every neighbour for a broadcast, and TCP drops those.
    await shell.run('ip link set lo up');
    for (const [netns, device, address] of [
      [this.#client, 'calia', CLIENT],
      [server, 'calib', SERVER],
    ] as const) {
      const pod = quoted(netns.replace(/.*\//, ''));
      const inside = `ip -n ${pod}`;
      await shell.run(`set -e
        ip link add ${device} address 02:00:00:00:00:01 type veth peer name eth0 netns ${pod}
        ip link set ${device} up && ip route add ${address}/32 dev ${device}
        ${inside} link set eth0 up && ${inside} address add ${address}/32 dev eth0
        ${inside} route add 169.254.1.1 dev eth0 && ${inside} neigh add 169.254.1.1 lladdr 02:00:00:00:00:01 dev eth0
        ${inside} route add default via 169.254.1.1 dev eth0
        sysctl -qw net.ipv4.ip_forward=1`);
    }
    for (const program of [PINGPONG, OPENER]) {
      const serve = ['taskset', '-c', '0', process.execPath, program, 'serve'];
      this.#machine.spawn(serve, { netns: server, log: 'server.log' });
    }
    await sleep(1000);
  }
}
