// A cluster in Calico's way, without tunnels: how soon every node knows a block, and what sessions and routes that takes.
//   node bench/bgp.ts [--json]
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { askAgent } from '../src/agent/client.ts';
import type { BgpStatus } from '../src/bgp/status.ts';
import { readNetwork } from '../src/cluster/network.ts';
import { BlockAssigner } from '../src/ipam/blocks/block-assigner.ts';
import { IpamKeys } from '../src/ipam/blocks/keys.ts';
import { down } from '../src/lab/down.ts';
import type { Lab } from '../src/lab/lab.ts';
import { netnsOf } from '../src/lab/names.ts';
import { withStore } from '../src/lab/store-process.ts';
import { up } from '../src/lab/up.ts';
import { netnsPath } from '../src/linux/netns.ts';
import { DEFAULT_PREFIX } from '../src/store/layout.ts';
import { ResourceStore } from '../src/store/resource-store.ts';
import { benchmark, type Machine } from './lib/machine.ts';
import { median, type Row, row } from './lib/report.ts';
import { Watch } from './lib/watch.ts';

const FEW = 3;
/** Each is an agent and a BIRD. */
const MANY = 24;
const REFLECTORS = 2;
/** A block each, claimed one after another. */
const CLAIMS = 10;
const PODS_A_NODE = 20;
/** Milliseconds. */
const PATIENCE = 60_000;
const RTPROT_BIRD = 12;

const NETWORK = {
  Network: '10.244.0.0/16',
  addresses: 'blocks',
  wiring: 'routed',
  Backend: { Type: 'bgp', ipipMode: 'Never' },
};

await benchmark('BGP', async (machine) => [
  ...(await cluster(machine, FEW, 0)),
  ...(await cluster(machine, MANY, 0)),
  ...(await cluster(machine, MANY, REFLECTORS)),
]);

async function cluster(machine: Machine, nodes: number, reflectors: number): Promise<Row[]> {
  const name = `bench${process.pid}n${nodes}r${reflectors}`;
  machine.defer(() => down(name));
  const network = readNetwork(NETWORK);
  const lab = await up({ name, nodes, subnets: 1, network, bgp: reflectors ? { reflectors } : {} });
  const names = lab.nodes.map((node) => node.name);
  const sessions = await established(lab, names);
  const times: number[] = [];
  for (const node of names.slice(0, CLAIMS)) times.push(await claim(lab, names, node));
  for (const node of names) await assign(lab, node, PODS_A_NODE - 1);
  await sleep(1000);
  const routes = await routesOf(machine, lab, names.at(-1) ?? '');
  await down(name);
  const which = `${nodes} nodes, ${reflectors ? `${reflectors} reflectors` : 'mesh'}`;
  return [
    row(`${which}: block claimed, to the route in every other kernel, p50`, 'ms', median(times)),
    row(`${which}: the same, slowest of ${times.length}`, 'ms', Math.max(...times)),
    row(`${which}: sessions`, '', sessions),
    row(`${which}: routes in a kernel, beside pods`, '', routes, { reference: nodes * PODS_A_NODE }),
  ];
}

/** Sessions of the whole cluster, when all are up and no BIRD waits for another one. */
async function established(lab: Lab, names: readonly string[]): Promise<number> {
  const deadline = performance.now() + PATIENCE;
  for (;;) {
    const all = await Promise.all(
      names.map((name) => {
        const socket = lab.paths.node(name).agentSocket;
        return askAgent<BgpStatus>(socket, { op: 'bgp-status' }).catch(() => undefined);
      }),
    );
    const ends = all.flatMap((status) => status?.sessions ?? []);
    const settled = all.every((status) => status?.sessions.length && !status.daemon.recovering);
    if (settled && ends.every(({ info }) => info === 'Established')) return ends.length / 2;
    if (performance.now() > deadline) throw new Error('not all BGP sessions are up');
    await sleep(200);
  }
}

/** Milliseconds from the claim of the node's first block to the last of the other kernels. */
async function claim(lab: Lab, names: readonly string[], node: string): Promise<number> {
  const others = names.filter((name) => name !== node);
  const watches = others.map((name) => new Watch(netnsPath(netnsOf(lab.name, name)), ['route']));
  try {
    const told = watches.map((watch) =>
      watch.count(
        (event) => event.object === 'route' && event.type !== 'del' && event.value.protocol === RTPROT_BIRD,
        1,
      ),
    );
    await assign(lab, node, 1);
    const claimed = performance.now();
    return Math.max(...(await Promise.all(told))) - claimed;
  } finally {
    for (const watch of watches) watch[Symbol.dispose]();
  }
}

/** Takes addresses as the node's agent does for its pods; agents and BIRD can't tell the difference. */
async function assign(lab: Lab, node: string, count: number): Promise<void> {
  await withStore(lab, async (kv) => {
    const found = await new ResourceStore(kv).list('IPPool', () => {});
    const ipPools = found.flatMap(({ resource }) => (resource.kind === 'IPPool' ? [resource.value] : []));
    const assigner = new BlockAssigner({
      kv,
      keys: new IpamKeys(DEFAULT_PREFIX),
      node,
      nodeLabels: () => ({}),
      resources: () => ({ ipPools, ipReservations: [] }),
    });
    for (let i = 0; i < count; i++) {
      await assigner.assign({ handle: randomUUID(), families: [4], attributes: {} });
    }
  });
}

async function routesOf(machine: Machine, lab: Lab, node: string): Promise<number> {
  const text = await machine.output(['ip', '-j', 'route'], netnsPath(netnsOf(lab.name, node)));
  const routes: { dst: string; protocol?: string }[] = JSON.parse(text);
  return routes.filter(({ protocol }) => protocol === 'bird').length;
}
