// Round trips between two pods of a node under many rules, of an established connection and of new ones,
// compared with no policy (but connection tracking, as every cluster has) and with a chain of as many rules,
// as iptables would have it; the three take turns. Then what changes cost, in a cluster of 5,000 pods. See
// docs/benchmarks.md.
//   node bench/policy.ts [--json]
import { setTimeout as sleep } from 'node:timers/promises';
import { parseIp } from '../src/ip/address.ts';
import { nthIp, parseCidr } from '../src/ip/cidr.ts';
import { applyRuleset } from '../src/linux/nftables/ruleset.ts';
import { SILENT } from '../src/log.ts';
import { collectPolicies, type Written } from '../src/policy/collect.ts';
import { compilePolicies } from '../src/policy/compile/compile.ts';
import type { PolicyFacts } from '../src/policy/compile/facts.ts';
import { Memory } from '../src/policy/compile/memory.ts';
import type { PodEntity } from '../src/policy/model/entity.ts';
import type { Tier } from '../src/policy/model/policy.ts';
import { Reconciler } from '../src/state/reconciler.ts';
import { benchmark, type Machine } from './lib/machine.ts';
import { median, type Row, row } from './lib/report.ts';
import { quoted, Shell } from './lib/shell.ts';

const SIZES = [10, 1000, 10_000];
/** Kinds of clients that the rules tell apart. */
const APPS = 100;
const ROUNDS = 7;
const EXCHANGES = 3000;
/** The benchmark's datagrams are for it (pingpong.ts). */
const PORT = 7007;
const [CLIENT, SERVER] = [parseIp('10.0.0.1'), parseIp('10.0.0.2')];
const CLUSTER = parseCidr('10.0.0.0/16');
const PODS = 5000;
const POLICIES = 1000;
const PINGPONG = new URL('./lib/pingpong.ts', import.meta.url).pathname;

type Times = { readonly established: number[]; readonly new: number[] };

async function inTurns<K extends string>(nodes: Record<K, Node>): Promise<Record<K, Times>> {
  const names = Object.keys(nodes) as K[];
  const times = Object.fromEntries(
    names.map((name) => [name, { established: [], new: [] } satisfies Times]),
  ) as unknown as Record<K, Times>;
  for (let i = 0; i < ROUNDS; i++) {
    for (const name of i % 2 ? names : names.toReversed()) {
      times[name].established.push(await nodes[name].roundTrip());
      times[name].new.push(await nodes[name].roundTrip('new'));
    }
  }
  return times;
}

/** A node with two routed pods and a reconciler for its policies. */
class Node {
  readonly netns: string;
  readonly #machine: Machine;
  readonly #client: string;
  readonly #memory = new Memory();
  readonly #reconciler: Reconciler;

  static async create(machine: Machine, name: string): Promise<Node> {
    const node = new Node(machine, name);
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

  /** Milliseconds until the kernel holds the policies, and how many changes that took. */
  async apply(facts: PolicyFacts): Promise<{ readonly took: number; readonly changes: number }> {
    const start = performance.now();
    const { tables, directory, pods } = compilePolicies(facts, this.#memory);
    this.#reconciler.setDesired([
      { owner: { part: 'wiring', name: 'policies' }, items: [...tables, ...directory], warnings: [] },
      ...[...pods].map(([{ name }, { items }]) => ({
        owner: { part: 'pod', name } as const,
        items,
        warnings: [],
      })),
    ]);
    const { done } = await this.#reconciler.run();
    return { took: performance.now() - start, changes: done.length };
  }

  /** Microseconds, the median; `new`: each a new connection. Both ends on one processor. */
  async roundTrip(...what: 'new'[]): Promise<number> {
    const command = ['taskset', '-c', '0', process.execPath, PINGPONG, SERVER, `${EXCHANGES}`, ...what];
    return Number(await this.#machine.output(command, this.#client));
  }

  async #wire(name: string): Promise<void> {
    const server = this.#machine.netns(`${name}-server`);
    await using shell = new Shell(this.netns);
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
    const serve = ['taskset', '-c', '0', process.execPath, PINGPONG, 'serve'];
    this.#machine.spawn(serve, { netns: server, log: 'pingpong.log' });
    await sleep(500);
  }
}

/** What one pod more, and one policy more, cost a node of a large cluster. */
async function changes(machine: Machine): Promise<Row[]> {
  const node = await Node.create(machine, 'large');
  const pods = podsOf(PODS);
  const written = Array.from({ length: POLICIES }, (_, i) => policy(`p${i}`, [i % APPS], [80 + (i % 20)]));
  const full = await node.apply(facts(pods, tiersOf(written)));
  const more = [...pods, pod(PODS)];
  const onePod = await node.apply(facts(more, tiersOf(written)));
  const onePolicy = await node.apply(facts(more, tiersOf([...written, policy('more', [7], [PORT])])));
  const of = `${POLICIES.toLocaleString('en')} policies, ${PODS.toLocaleString('en')} pods`;
  return [
    row(`${of}: from nothing to the kernel`, 'ms', full.took),
    row('one pod more', 'ms', onePod.took),
    row('one pod more, elements', '', onePod.changes),
    row('one policy more', 'ms', onePolicy.took),
    row('one policy more, elements', '', onePolicy.changes),
    row('memory of this process', 'MB', process.memoryUsage().rss / 1e6),
  ];
}

/** The first two are the benchmark's. */
function pod(i: number): PodEntity {
  return {
    kind: 'pod',
    namespace: 'default',
    name: `pod${i}`,
    labels: { app: i === 1 ? 'server' : `app${i % APPS}` },
    namespaceLabels: {},
    serviceAccount: 'default',
    serviceAccountLabels: {},
    ports: [],
    addresses: [nthIp(CLUSTER, i + 1)],
  };
}

function podsOf(count: number): readonly PodEntity[] {
  return Array.from({ length: count }, (_, i) => pod(i));
}

function policy(name: string, apps: readonly number[], ports: readonly number[]): Written {
  const ingress = apps.flatMap((app) =>
    ports.map((port) => ({
      from: [{ podSelector: { matchLabels: { app: `app${app}` } } }],
      ports: [{ protocol: 'UDP', port }],
    })),
  );
  const spec = { podSelector: { matchLabels: { app: 'server' } }, ingress };
  return { kind: 'NetworkPolicy', namespace: 'default', name, spec };
}

/** One policy of so many rules; the client’s is the last. */
function oneOf(size: number): Written {
  const perApp = Math.max(1, size / APPS);
  const ports = Array.from({ length: perApp }, (_, i) => PORT - perApp + 1 + i);
  const apps = Array.from({ length: size / perApp }, (_, i) => size / perApp - 1 - i);
  return policy('all', apps, ports);
}

function tiersOf(written: readonly Written[]): readonly Tier[] {
  return collectPolicies(written).tiers;
}

function facts(entities: readonly PodEntity[], tiers: readonly Tier[]): PolicyFacts {
  return {
    entities,
    tiers,
    names: new Map(),
    subjects: entities.slice(0, 2).map((each) => ({ pod: each, nets: [] })),
    subnets: [],
    families: [4],
    devices: 'cali',
    bridge: 'cni0',
  };
}

const TRACKING = `table ip tracking {
  chain forward {
    type filter hook forward priority 0;
    ct state established,related accept
  }
}`;

/** As iptables would have it: the client’s rule is the last. */
function linear(size: number): string {
  const others = Array.from(
    { length: size - 1 },
    (_, i) => `ip saddr ${nthIp(CLUSTER, 100 + (i % APPS))} udp dport ${1000 + Math.floor(i / APPS)} accept`,
  );
  return `table ip linear {
    chain forward {
      type filter hook forward priority 0;
      ct state established,related accept
      ip daddr ${SERVER} jump server
    }
    chain server {
      ${[...others, `ip saddr ${CLIENT} udp dport ${PORT} accept`, 'drop'].join('\n      ')}
    }
  }`;
}

await benchmark('policy', async (machine) => {
  const none = await Node.create(machine, 'none');
  await applyRuleset(TRACKING, { netns: none.netns });
  const rows: Row[] = [];
  let few: Times | undefined;
  for (const size of SIZES) {
    const ours = await Node.create(machine, `ours${size}`);
    const chain = await Node.create(machine, `chain${size}`);
    const { took } = await ours.apply(facts(podsOf(APPS), tiersOf([oneOf(size)])));
    await applyRuleset(linear(size), { netns: chain.netns });
    const times = await inTurns({ none, ours, chain });
    const rules = `${size.toLocaleString('en')} rules`;
    few ??= times.ours;
    for (const kind of ['established', 'new'] as const) {
      const [own, without] = [median(times.ours[kind]), median(times.none[kind])];
      rows.push(
        row(`${rules}: round trip, ${kind}, against none`, 'µs', own, { reference: without }),
        row(`in a chain`, 'µs', median(times.chain[kind]), { reference: without }),
        row(`against ${SIZES[0]} rules`, 'µs', own, {
          reference: median(few[kind]),
          budget: { atMost: 1.05 },
        }),
      );
    }
    rows.push(row(`${rules}: from nothing to the kernel`, 'ms', took));
  }
  return [...rows, ...(await changes(machine))];
});
