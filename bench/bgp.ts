// A Calico-style cluster without tunnels: how soon every node learns of a block, and the sessions and routes
// that takes.
//   node bench/bgp.ts [--json] [NODES…]      default: FLATNET_BENCH_NODES, or 3 30 100
import { randomUUID } from 'node:crypto';
import { askAgent } from '../src/agent/ask.ts';
import { forEachLimited } from '../src/async/each.ts';
import { poll } from '../src/async/poll.ts';
import { readNetwork } from '../src/cluster/network.ts';
import { BlockAssigner } from '../src/ipam/blocks/block-assigner.ts';
import { down } from '../src/lab/down.ts';
import { withStore } from '../src/lab/machine/store.ts';
import type { Lab } from '../src/lab/record/lab.ts';
import { netnsOf } from '../src/lab/record/names.ts';
import { up } from '../src/lab/up.ts';
import { netnsPath } from '../src/linux/netns.ts';
import { RTPROT_BIRD } from '../src/linux/route-protocol.ts';
import { type Machine, onMachine } from './lib/machine.ts';
import { digits, median, print } from './lib/report.ts';
import { Watch } from './lib/watch.ts';

/** Each node is an agent and a BIRD, some 40 MB; a mesh of 100 is 4,950 sessions, on two processors. */
const NODES = [3, 30, 100];
const REFLECTORS = 2;
/** Consecutive claims. */
const CLAIMS = 20;
const BLOCK_SIZE = 64;
const PODS_A_NODE = 20;
/** Milliseconds. */
const PATIENCE = 120_000;
/** Agents queried concurrently: answering everyone at once would keep the machine busy. */
const CONCURRENT_QUERIES = 8;

const NETWORK = {
  Network: '10.244.0.0/16',
  addresses: 'blocks',
  wiring: 'routed',
  Backend: { Type: 'bgp', ipipMode: 'Never' },
};

type Figures = {
  readonly nodes: number;
  readonly reflectors: number;
  /** In the whole cluster. */
  readonly sessions: number;
  /** From scratch to all sessions up. */
  readonly upSeconds: number;
  /** From the claim of a block to its route in the last of the other kernels. */
  readonly claims: number;
  readonly p50Ms: number;
  readonly slowestMs: number;
  /** BIRD's routes in one node's kernel, with pods on every node. */
  readonly routes: number;
  readonly pods: number;
};

await onMachine('BGP', async (machine) => {
  const all: Figures[] = [];
  for (const nodes of sizes()) {
    for (const reflectors of [0, REFLECTORS]) all.push(await cluster(machine, nodes, reflectors));
  }
  report(all);
});

function sizes(): number[] {
  const words = process.argv.slice(2).filter((word) => word !== '--json');
  const requested =
    words.length > 0 ? words : (process.env.FLATNET_BENCH_NODES ?? '').split(/[\s,]+/).filter(Boolean);
  const numbers = requested.map(Number);
  if (numbers.some((each) => !Number.isInteger(each) || each <= REFLECTORS)) {
    throw new Error(`not numbers of nodes (${REFLECTORS + 1} or more): ${requested.join(' ')}`);
  }
  return numbers.length > 0 ? numbers : NODES;
}

async function cluster(machine: Machine, nodes: number, reflectors: number): Promise<Figures> {
  const name = `bench${process.pid}n${nodes}r${reflectors}`;
  machine.defer(() => down(name));
  const start = performance.now();
  const network = readNetwork(NETWORK);
  const lab = await up({ name, nodes, subnets: 1, network, bgp: reflectors ? { reflectors } : {} });
  const names = lab.nodes.map((node) => node.name);
  const sessions = await established(lab, names);
  const upSeconds = (performance.now() - start) / 1000;
  const figures = await withAssigners(lab, names, async (assign) => {
    const times: number[] = [];
    const claim = async (node: string): Promise<void> => {
      times.push(await untilEverywhere(lab, names, node, () => assign(node, 1)));
    };
    for (const node of names.slice(0, CLAIMS)) await claim(node);
    // Spread as a scheduler would: one per node, then the next round.
    for (let i = 0; i < PODS_A_NODE; i++) {
      for (const [at, node] of names.entries()) if (i > 0 || at >= CLAIMS) await assign(node, 1);
    }
    const far = names.at(-1) ?? '';
    const routes = await routesOf(machine, lab, far, nodes - 1);
    // Nodes of a small cluster claim second and third blocks too.
    for (let i = nodes; i < CLAIMS; i++) {
      const node = names[i % nodes] ?? '';
      await assign(node, BLOCK_SIZE - (i < 2 * nodes ? PODS_A_NODE : 1));
      await claim(node);
    }
    return { times, routes };
  });
  await down(name);
  return {
    nodes,
    reflectors,
    sessions,
    upSeconds,
    claims: figures.times.length,
    p50Ms: median(figures.times),
    slowestMs: Math.max(...figures.times),
    routes: figures.routes,
    pods: nodes * PODS_A_NODE,
  };
}

/** Sessions of the whole cluster, once all are up and no BIRD waits for another. */
async function established(lab: Lab, names: readonly string[]): Promise<number> {
  const ends = new Map<string, number>();
  const ask = async () => {
    await forEachLimited(CONCURRENT_QUERIES, names, async (name) => {
      if (ends.has(name)) return;
      const socket = lab.paths.node(name).agentSocket;
      const status = await askAgent(socket, { op: 'bgp-status' }).catch(() => undefined);
      if (!status?.sessions.length || status.daemon.recovering) return;
      if (status.sessions.every(({ info }) => info === 'Established')) ends.set(name, status.sessions.length);
    });
    return ends.size === names.length
      ? [...ends.values()].reduce((sum, count) => sum + count) / 2
      : undefined;
  };
  const sessions = await poll(ask, { every: 200, patience: PATIENCE });
  if (sessions !== undefined) return sessions;
  throw new Error(`not all BGP sessions are up; all are on ${ends.size} of ${names.length} nodes`);
}

/**
 * Milliseconds from the end of `claim`, which gives `node` another block, to the block's route in the last
 * of the other kernels.
 */
async function untilEverywhere(
  lab: Lab,
  names: readonly string[],
  node: string,
  claim: () => Promise<void>,
): Promise<number> {
  const others = names.filter((name) => name !== node);
  const watches = others.map((name) => new Watch(netnsPath(netnsOf(lab.name, name)), ['route']));
  try {
    const arrivals = watches.map((watch) =>
      watch.count(
        (event) => event.object === 'route' && event.type !== 'del' && event.value.protocol === RTPROT_BIRD,
        1,
      ),
    );
    await claim();
    const claimed = performance.now();
    return Math.max(...(await Promise.all(arrivals))) - claimed;
  } finally {
    for (const watch of watches) watch[Symbol.dispose]();
  }
}

type Assign = (node: string, count: number) => Promise<void>;

/** Assigns addresses as a node's agent does for its pods; agents and BIRD can't tell the difference. */
async function withAssigners<T>(
  lab: Lab,
  names: readonly string[],
  work: (assign: Assign) => Promise<T>,
): Promise<T> {
  return withStore(lab, async ({ resources, blocks }) => {
    const found = await resources.list('IPPool', () => {});
    const ipPools = found.flatMap(({ resource }) => (resource.kind === 'IPPool' ? [resource.value] : []));
    const assigners = new Map(
      names.map((node) => [
        node,
        new BlockAssigner({
          store: blocks,
          node,
          nodeLabels: () => ({}),
          resources: () => ({ ipPools, ipReservations: [] }),
        }),
      ]),
    );
    return work(async (node, count) => {
      for (let i = 0; i < count; i++) {
        await assigners.get(node)?.assign({ handle: randomUUID(), families: [4], attributes: {} });
      }
    });
  });
}

/** The number of BIRD's routes in a kernel, once it reaches the expected number. */
async function routesOf(machine: Machine, lab: Lab, node: string, expected: number): Promise<number> {
  let count = 0;
  const ask = async () => {
    const text = await machine.output(['ip', '-j', 'route'], netnsPath(netnsOf(lab.name, node)));
    const routes: { dst: string; protocol?: string }[] = JSON.parse(text);
    count = routes.filter(({ protocol }) => protocol === 'bird').length;
    return count >= expected || undefined;
  };
  await poll(ask, { every: 200, patience: PATIENCE });
  return count;
}

function report(all: readonly Figures[]): void {
  if (process.argv.includes('--json')) {
    console.log(JSON.stringify(all));
    return;
  }
  const heading = ['BGP: nodes', '', 'sessions', 'up, s', 'block, p50 ms', 'slowest ms', 'routes', 'pods'];
  const lines = all.map((each) => [
    `${each.nodes}`,
    each.reflectors ? `${each.reflectors} reflectors` : 'mesh',
    `${each.sessions}`,
    digits(each.upSeconds),
    digits(each.p50Ms),
    `${digits(each.slowestMs)} of ${each.claims}`,
    `${each.routes}`,
    `${each.pods}`,
  ]);
  print([heading, ...lines], [1]);
}
