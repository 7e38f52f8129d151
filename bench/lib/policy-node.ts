import { poll } from '../../src/async/poll.ts';
import { parseIp } from '../../src/ip/address.ts';
import { NETLINK_NETFILTER, NetlinkSocket } from '../../src/linux/netlink/socket.ts';
import { applyRuleset } from '../../src/linux/nftables/ruleset.ts';
import { SILENT } from '../../src/log.ts';
import { compilePolicies } from '../../src/policy/compile/compile.ts';
import type { PolicyFacts } from '../../src/policy/compile/facts.ts';
import { Memory } from '../../src/policy/compile/memory.ts';
import { offloadDevice, offloadTable } from '../../src/policy/flows/offload.ts';
import type { Contribution } from '../../src/state/contributions.ts';
import { Reconciler } from '../../src/state/reconciler.ts';
import { type Machine, stop } from './machine.ts';
import { offloadedDump } from './offloaded.ts';
import { quoted, Shell } from './shell.ts';
import { tcpStream } from './stream.ts';

export const [CLIENT, SERVER] = [parseIp('10.0.0.1'), parseIp('10.0.0.2')];
/** The benchmarks' datagrams and connections are for it (pingpong.ts, connections.ts). */
export const PORT = 7007;
/** And connections that last: bounced bytes (echo.ts), and a stream. */
export const LASTING = { echo: 7008, stream: 7009 } as const;
const EXCHANGES = 3000;
const CONNECTIONS = 1000;
const [PINGPONG, OPENER, ECHO] = ['./pingpong.ts', './connections.ts', './echo.ts'].map(
  (name) => new URL(name, import.meta.url).pathname,
) as [string, string, string];
const DEVICES = ['calia', 'calib'] as const;
/** Milliseconds; an emulated machine takes half a minute to start a program. */
const PATIENCE = 120_000;

/** As some program loads it on every node of a cluster. */
const TRACKING = `table ip tracking {
  chain forward {
    type filter hook forward priority 0;
    ct state established,related accept
  }
}`;

/** As the agent has it where the kernel has flowtables (desired/offload.ts). */
const OFFLOAD: Contribution = {
  owner: { part: 'offload', name: 'this node' },
  items: [offloadTable({ devices: 'cali', bridge: 'cni0' }), ...DEVICES.map(offloadDevice)],
  warnings: [],
};

/** What it took until the kernel held the policies: milliseconds, and elements that changed. */
export type Applied = { readonly compiled: number; readonly took: number; readonly changes: number };

/** A node with two routed pods and a reconciler for its policies. */
export class PolicyNode {
  readonly netns: string;
  readonly #machine: Machine;
  readonly #client: string;
  readonly #server: string;
  /** By program: its server, once asked for. */
  readonly #serving = new Map<string, Promise<void>>();
  readonly #memory = new Memory();
  readonly #reconciler: Reconciler;

  static async create(machine: Machine, name: string): Promise<PolicyNode> {
    const node = new PolicyNode(machine, name);
    await node.#wire();
    return node;
  }

  private constructor(machine: Machine, name: string) {
    this.#machine = machine;
    this.netns = machine.netns(name);
    this.#client = machine.netns(`${name}-client`);
    this.#server = machine.netns(`${name}-server`);
    this.#reconciler = new Reconciler({ netns: this.netns, log: SILENT, onReport: () => {} });
    machine.defer(() => this.#reconciler[Symbol.dispose]());
    this.#reconciler.allowPrune();
  }

  /** Connections are tracked, as with policies; nothing else. */
  async track(): Promise<void> {
    await applyRuleset(TRACKING, { netns: this.netns });
  }

  /** `offload`: connections that last bypass the tables. */
  async apply(facts: PolicyFacts, { offload = false } = {}): Promise<Applied> {
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
      ...(offload ? [OFFLOAD] : []),
    ]);
    const { done, undone } = await this.#reconciler.run();
    const [missing] = undone;
    if (missing) throw new Error(`the kernel lacks part of the policies: ${missing.reason}`);
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

  /** Microseconds, the median, over one TCP connection. Both ends on one processor. */
  flowRoundTrip(): Promise<number> {
    return this.#measure(ECHO, EXCHANGES);
  }

  /** Gb/s of one TCP connection. */
  async throughput(): Promise<number> {
    const port = LASTING.stream;
    await this.#serve(['iperf3', '--server', '--forceflush', '--port', `${port}`]);
    return tcpStream(this.#machine, { from: this.#client, address: SERVER, port });
  }

  /** Waits until the kernel says that it has offloaded a connection; returns false if it does not. */
  async offloads(): Promise<boolean> {
    await this.#serve(pinned(ECHO, 'serve'));
    const forever = pinned(ECHO, SERVER, `${Number.MAX_SAFE_INTEGER}`);
    const client = this.#machine.spawn(forever, { netns: this.#client, log: 'echo.log' });
    using socket = NetlinkSocket.open(NETLINK_NETFILTER, { netns: this.netns });
    const isThere = async () => (await socket.dump(offloadedDump()))[0];
    const found = await poll(isThere, { every: 200, patience: PATIENCE });
    await stop(client, 'SIGTERM');
    return found === true;
  }

  async #measure(program: string, count: number, ...what: readonly string[]): Promise<number> {
    await this.#serve(pinned(program, 'serve'));
    return Number(await this.#machine.output(pinned(program, SERVER, `${count}`, ...what), this.#client));
  }

  /** Starts a server, unless it runs. */
  #serve(command: readonly string[]): Promise<void> {
    const key = command.join(' ');
    const serving = this.#serving.get(key) ?? this.#machine.serve(command, this.#server);
    this.#serving.set(key, serving);
    return serving;
  }

  async #wire(): Promise<void> {
    await using shell = new Shell(this.netns);
    // A namespace without any address takes every neighbour for a broadcast, and TCP drops those.
    await shell.run('ip link set lo up');
    for (const [netns, device, address] of [
      [this.#client, DEVICES[0], CLIENT],
      [this.#server, DEVICES[1], SERVER],
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
  }
}

/** A program for Node, on the first processor. */
function pinned(...words: readonly string[]): readonly string[] {
  return ['taskset', '-c', '0', process.execPath, ...words];
}
