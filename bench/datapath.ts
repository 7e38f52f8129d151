// Packets between pods on two nodes, compared with packets between the nodes themselves; host-gw and vxlan
// take turns.
//   node bench/datapath.ts [--json]
import { setTimeout as sleep } from 'node:timers/promises';
import { configure, Node, startStore, storeAt } from './lib/agent.ts';
import { benchmark, type Machine, wire } from './lib/machine.ts';
import { median, type Row, row } from './lib/report.ts';
import { tcpStream } from './lib/stream.ts';

const ROUNDS = 5;
const PINGS = 20_000;
const PINGPONG = new URL('./lib/pingpong.ts', import.meta.url).pathname;

/** From a namespace to an address in another. */
type Path = { readonly from: string; readonly to: string; readonly address: string };
type Figures = { readonly udp: number[]; readonly ping: number[]; readonly tcp: number[] };

await benchmark('data path', async (machine) => {
  const { endpoint, kv } = await startStore(machine, 'store');
  const underlay = { a: '172.20.0.1', b: '172.20.0.2' };
  const cluster = async (backend: string): Promise<{ nodes: Path; pods: Path }> => {
    const prefix = `/${backend}`;
    await configure(kv, { Network: '10.128.0.0/16', Backend: { Type: backend } }, prefix);
    const [a, b] = [machine.netns(`${backend}-a`), machine.netns(`${backend}-b`)];
    await wire([
      { netns: a, address: `${underlay.a}/24` },
      { netns: b, address: `${underlay.b}/24` },
    ]);
    const addresses: string[] = [];
    const pods: string[] = [];
    for (const netns of [a, b]) {
      const name = netns.slice(netns.lastIndexOf('-') - backend.length);
      const node = new Node(machine, name, netns, storeAt(endpoint, prefix));
      node.start();
      await node.ready();
      const pod = machine.netns(`${name}-pod`);
      addresses.push(await node.add(`${name}-pod`, pod));
      pods.push(pod);
    }
    const [from = '', to = ''] = pods;
    return {
      nodes: { from: a, to: b, address: underlay.b },
      pods: { from, to, address: addresses[1] ?? '' },
    };
  };
  const hostGw = await cluster('host-gw');
  const vxlan = await cluster('vxlan');
  kv.close();
  const paths = { node: hostGw.nodes, 'host-gw': hostGw.pods, vxlan: vxlan.pods };
  return rowsOf(await measure(machine, paths));
});

async function measure<Name extends string>(
  machine: Machine,
  paths: Readonly<Record<Name, Path>>,
): Promise<Record<Name, Figures>> {
  const names = Object.keys(paths) as Name[];
  const figures = Object.fromEntries(
    names.map((name) => [name, { udp: [], ping: [], tcp: [] }]),
  ) as unknown as Record<Name, Figures>;
  for (const name of names) {
    const { to } = paths[name];
    machine.spawn(['iperf3', '--server'], { netns: to, log: `iperf3-${name}.log` });
    machine.spawn(pinned(process.execPath, PINGPONG, 'serve'), { netns: to, log: `pingpong-${name}.log` });
  }
  await sleep(1000);
  for (let i = 0; i < ROUNDS; i++) {
    for (const name of i % 2 ? names : names.toReversed()) {
      const { udp, ping, tcp } = figures[name];
      udp.push(await udpRoundTrip(machine, paths[name]));
      ping.push(await pingFlood(machine, paths[name]));
      tcp.push(await tcpStream(machine, paths[name]));
    }
  }
  return figures;
}

function rowsOf({ node, ...pods }: Record<'node' | 'host-gw' | 'vxlan', Figures>): Row[] {
  const shown = (
    what: string,
    unit: string,
    of: keyof Figures,
    budgets: Record<keyof typeof pods, Row['budget']>,
  ): Row[] =>
    (['host-gw', 'vxlan'] as const).map((name) => {
      const budget = budgets[name];
      const reference = median(node[of]);
      return row(`${what}, ${name}`, unit, median(pods[name][of]), { reference, ...(budget && { budget }) });
    });
  const roundTrip = { 'host-gw': { atMost: 1.25 }, vxlan: undefined };
  return [
    ...shown('UDP round trip, one processor', 'µs', 'udp', roundTrip),
    ...shown('ping flood', 'µs', 'ping', roundTrip),
    ...shown('TCP, one stream', 'Gb/s', 'tcp', { 'host-gw': { atLeast: 0.95 }, vxlan: { atLeast: 0.75 } }),
  ];
}

/** Both ends on one processor: otherwise waking the other one dominates the measurement. */
async function udpRoundTrip(machine: Machine, { from, address }: Path): Promise<number> {
  return Number(await machine.output(pinned(process.execPath, PINGPONG, address, `${PINGS}`), from));
}

async function pingFlood(machine: Machine, { from, address }: Path): Promise<number> {
  const text = await machine.output(pinned('ping', '-f', '-q', '-c', `${PINGS}`, address), from);
  return 1000 * Number(/= [0-9.]+\/([0-9.]+)\//.exec(text)?.[1]);
}

function pinned(...command: string[]): string[] {
  return ['taskset', '--cpu-list', '0', ...command];
}
