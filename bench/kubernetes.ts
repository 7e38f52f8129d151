// A whole agent process with a real API server that has 5,000 Nodes, which send heartbeats, and 50,000 Pods.
//   node bench/kubernetes.ts [--json]
import { setTimeout as sleep } from 'node:timers/promises';
import { watch } from '../src/kubernetes/api/watch.ts';
import { NODES } from '../src/store/kubernetes/kinds.ts';
import { NO_API_SERVER } from '../test/kubernetes/api-server.ts';
import { Node, usageOf } from './lib/agent.ts';
import { LargeCluster } from './lib/kubernetes.ts';
import { benchmark, type Machine, wire } from './lib/machine.ts';
import { UNDERLAY_ADDRESS } from './lib/peers.ts';
import { median, row } from './lib/report.ts';
import { Watch } from './lib/watch.ts';

const PEERS = 5000;
const PODS = 50_000;
const STARTS = 3;
const CHANGES = 30;
/** Seconds. */
const REST = 60;
/** Kubelets tell their state every five minutes. */
const HEARTBEATS_A_SECOND = Math.round(PEERS / 300);

await benchmark('agent on the Kubernetes API', async (machine) => {
  if (NO_API_SERVER) throw new Error(NO_API_SERVER);
  console.error(`creating ${PEERS} Nodes and ${PODS} Pods: this takes minutes`);
  const cluster = await LargeCluster.start(machine, PEERS, PODS);
  const starts: number[] = [];
  const bytes: number[] = [];
  let node: Node | undefined;
  for (let i = 0; i < STARTS; i++) {
    await node?.stop('SIGKILL');
    node = await newNode(machine, cluster, `start${i}`);
    const before = cluster.received;
    starts.push(await started(node));
    await node.ready();
    bytes.push(cluster.received - before);
  }
  if (!node) return [];
  const restart = await node.restart();
  await sleep(5000);
  const changes = await changed(cluster, node);
  const rest = await atRest(cluster, node);
  await node.stop('SIGTERM');
  return [
    row(`start with ${PEERS} nodes, to the last route`, 'ms', median(starts)),
    row('  bytes from the API server', 'MB', median(bytes) / 1e6),
    row('killed and restarted, to ready', 'ms', restart),
    row('one Node changes, from its event to the kernel, p50', 'ms', median(changes), {
      budget: { atMost: 100 },
    }),
    row(`at rest, with ${HEARTBEATS_A_SECOND} heartbeats a second: requests`, '/s', rest.requests, {
      budget: { atMost: 0.1 },
    }),
    row('  CPU time', 'ms/s', rest.cpu),
    row('  memory', 'MB', rest.memory, { budget: { atMost: 180 } }),
  ];
});

/** In a new namespace and with new folders, but always as the same Node. */
async function newNode(machine: Machine, cluster: LargeCluster, name: string): Promise<Node> {
  const netns = machine.netns(name);
  await wire([{ netns, address: UNDERLAY_ADDRESS }, { netns: machine.netns(`${name}-far`) }]);
  await cluster.connect(netns, name);
  return new Node(machine, name, netns, cluster.store, 'self');
}

async function started(node: Node): Promise<number> {
  using routes = new Watch(node.netns);
  const last = routes.count((event) => event.object === 'route' && event.value.protocol === 110, PEERS);
  const start = performance.now();
  node.start();
  return (await last) - start;
}

/** Milliseconds from when another watcher has the change until the kernel has it. */
async function changed(cluster: LargeCluster, node: Node): Promise<number[]> {
  const times: number[] = [];
  for (let i = 0; i < CHANGES; i++) {
    using kernel = new Watch(node.netns);
    // The old entry is removed last, once the new one is in use.
    const removed = kernel.count((event) => event.object === 'fdb' && event.type === 'del', 1);
    const stopping = new AbortController();
    const place = (17 * i) % PEERS;
    const seen = eventAt(cluster, place, stopping.signal);
    await sleep(200);
    await cluster.replace(place, 1);
    times.push((await removed) - (await seen));
    stopping.abort();
  }
  return times;
}

async function eventAt(cluster: LargeCluster, place: number, signal: AbortSignal): Promise<number> {
  const name = `peer${place}`;
  const { metadata } = await cluster.admin.get(NODES, { name });
  const resourceVersion = metadata.resourceVersion ?? '';
  const fieldSelector = `metadata.name=${name}`;
  const options = { fieldSelector, resourceVersion, idle: 60_000, seconds: 60, signal };
  for await (const { type } of watch(cluster.admin, NODES, options)) {
    if (type === 'MODIFIED') return performance.now();
  }
  throw new Error(`the watch of ${name} ended`);
}

async function atRest(
  cluster: LargeCluster,
  node: Node,
): Promise<{ readonly requests: number; readonly cpu: number; readonly memory: number }> {
  const before = { ...usageOf(node.pid), requests: cluster.requests };
  for (let second = 0; second < REST; second++) {
    const from = second * HEARTBEATS_A_SECOND;
    const beats = Array.from({ length: HEARTBEATS_A_SECOND }, (_, i) => cluster.heartbeat(from + i));
    await Promise.all([...beats, sleep(1000)]);
  }
  const after = { ...usageOf(node.pid), requests: cluster.requests };
  return {
    requests: (after.requests - before.requests) / REST,
    cpu: (after.cpu - before.cpu) / REST,
    memory: after.memory,
  };
}
