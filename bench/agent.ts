// A whole agent process with an embedded store that holds 5,000 peers, or three.
//   node bench/agent.ts [--json]
import { setTimeout as sleep } from 'node:timers/promises';
import type { Node as ClusterNode } from '../src/cluster/node.ts';
import { DEFAULT_PREFIX, Layout } from '../src/store/etcd/layout.ts';
import { encodeLease } from '../src/store/flannel/lease-value.ts';
import type { EtcdKv } from '../src/store/kv/client.ts';
import { configure, Node, startStore, storeAt, type Usage, usageOf } from './lib/agent.ts';
import { benchmark, type Machine, wire } from './lib/machine.ts';
import { netConf, peer, peers, UNDERLAY_ADDRESS } from './lib/peers.ts';
import { median, type Row, row } from './lib/report.ts';
import { Watch } from './lib/watch.ts';

const PEERS = 5000;
const STARTS = 3;
const SINGLE_CHANGES = 30;
const STORM = 1000;
/** Rounds in which every peer changes, to see whether memory grows. */
const TURNS = 4;
const PART = 500;
const PODS = 50;
/** Seconds. */
const IDLE = 20;
/** Operations per transaction; etcd allows 128. */
const AT_ONCE = 100;

await benchmark('agent process', async (machine) => [...(await large(machine)), ...(await small(machine))]);

async function large(machine: Machine): Promise<Row[]> {
  const { endpoint, kv } = await startStore(machine, 'large-store');
  await configure(kv, netConf('vxlan'));
  await write(kv, peers('vxlan', PEERS));
  const starts: number[] = [];
  let node: Node | undefined;
  for (let i = 0; i < STARTS; i++) {
    await node?.stop('SIGKILL');
    node = await newNode(machine, `large${i}`, endpoint);
    using watch = new Watch(node.netns);
    const routes = watch.count((event) => event.object === 'route' && event.value.protocol === 110, PEERS);
    const start = performance.now();
    node.start();
    starts.push((await routes) - start);
    await node.ready();
  }
  if (!node) return [];
  const { pid, netns } = node;
  await sleep(2000);
  const settled = usageOf(pid);
  let generation = 0;
  const replace = async (from: number, count: number): Promise<number> => {
    generation++;
    using watch = new Watch(netns);
    // The old entry is removed last, once the new one is in use.
    const removed = watch.count((event) => event.object === 'fdb' && event.type === 'del', count);
    const nodes = Array.from({ length: count }, (_, i) => peer('vxlan', from + i, generation));
    const start = performance.now();
    await write(kv, nodes);
    return (await removed) - start;
  };
  const single: number[] = [];
  for (let i = 0; i < SINGLE_CHANGES; i++) single.push(await replace(17 * i, 1));
  const before = usageOf(pid);
  const storm = await replace(0, STORM);
  const after = usageOf(pid);
  const memory: number[] = [];
  for (let i = 0; i < TURNS; i++) {
    // In batches: otherwise the kernel drops the notifications we count.
    for (let from = 0; from < PEERS; from += PART) await replace(from, PART);
    await sleep(1000);
    memory.push(usageOf(pid).memory);
  }
  const restart = await node.restart();
  await node.stop('SIGTERM');
  kv.close();
  return [
    row(`start with ${PEERS} peers, to the last route`, 'ms', median(starts), { budget: { atMost: 1600 } }),
    row('killed and restarted, to ready', 'ms', restart, { budget: { atMost: 1000 } }),
    row('one lease in the store changes, to the kernel, p50', 'ms', median(single)),
    row(`${STORM} leases change, to the kernel`, 'ms', storm),
    row(`${STORM} leases change, CPU time`, 'ms', after.cpu - before.cpu),
    row(`memory with ${PEERS} peers`, 'MB', settled.memory),
    row(`  after ${TURNS * PEERS} changes, vs. ${PEERS}`, 'MB', memory.at(-1) ?? Number.NaN, {
      reference: memory[0] ?? Number.NaN,
      budget: { atMost: 1.1 },
    }),
  ];
}

async function small(machine: Machine): Promise<Row[]> {
  const { endpoint, kv } = await startStore(machine, 'small-store');
  await configure(kv, netConf('vxlan'));
  await write(kv, peers('vxlan', 3));
  kv.close();
  const node = await newNode(machine, 'small', endpoint);
  // The first start after a source change also compiles the code, and keeps the memory that took.
  for (let i = 0; i < 2; i++) {
    await node.stop('SIGTERM');
    node.start();
    await node.ready();
  }
  for (let i = 0; i < PODS; i++) await node.add(`pod${i}`, machine.netns(`pod${i}`));
  await sleep(3000);
  const before = usageOf(node.pid);
  await sleep(IDLE * 1000);
  const after = usageOf(node.pid);
  const perSecond = (of: (usage: Usage) => number): number => (of(after) - of(before)) / IDLE;
  await node.stop('SIGTERM');
  return [
    row(`memory with 3 peers and ${PODS} pods`, 'MB', after.memory, { budget: { atMost: 85 } }),
    row(
      '  CPU time, idle',
      'ms/s',
      perSecond(({ cpu }) => cpu),
    ),
    row(
      '  wake-ups of all threads, idle',
      '/s',
      perSecond(({ wakeUps }) => wakeUps),
    ),
  ];
}

async function newNode(machine: Machine, name: string, endpoint: string): Promise<Node> {
  const netns = machine.netns(name);
  await wire([{ netns, address: UNDERLAY_ADDRESS }, { netns: machine.netns(`${name}-far`) }]);
  return new Node(machine, name, netns, storeAt(endpoint));
}

/** Publishes nodes as flannel does, one lease each. */
async function write(kv: EtcdKv, nodes: readonly ClusterNode[]): Promise<void> {
  const layout = new Layout(DEFAULT_PREFIX);
  for (let i = 0; i < nodes.length; i += AT_ONCE) {
    const success = nodes.slice(i, i + AT_ONCE).map((node) => ({
      op: 'put' as const,
      key: layout.lease(node.subnets),
      value: encodeLease(node),
    }));
    await kv.txn({ compare: [], success });
  }
}
