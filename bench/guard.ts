// Round trips between pods with the guard, compared with the same without it; the two take turns. See
// docs/security.md.
//   node bench/guard.ts [--json]
import { setTimeout as sleep } from 'node:timers/promises';
import { configure, Node, startStore, storeAt } from './lib/agent.ts';
import { benchmark, type Machine, wire } from './lib/machine.ts';
import { median, type Row, row } from './lib/report.ts';

const ROUNDS = 15;
const EXCHANGES = 5000;
const PINGPONG = new URL('./lib/pingpong.ts', import.meta.url).pathname;

/** From a namespace to an address in another. */
type Path = { readonly from: string; readonly to: string; readonly address: string };
type Paths = { readonly 'same node': Path; readonly vxlan: Path };

await benchmark('guard', async (machine) => {
  const { endpoint, kv } = await startStore(machine, 'store');
  const cluster = async (name: string, guard: boolean): Promise<Paths> => {
    const prefix = `/${name}`;
    const backend = { Type: 'vxlan', membersOnly: guard };
    await configure(kv, { Network: '10.128.0.0/16', Backend: backend, guard }, prefix);
    const [a, b] = [machine.netns(`${name}-a`), machine.netns(`${name}-b`)];
    await wire([
      { netns: a, address: '172.20.0.1/24' },
      { netns: b, address: '172.20.0.2/24' },
    ]);
    const pods: { netns: string; address: string }[] = [];
    for (const [netns, count] of [
      [a, 2],
      [b, 1],
    ] as const) {
      const node = new Node(machine, `${name}${pods.length}`, netns, storeAt(endpoint, prefix));
      node.start();
      await node.ready();
      for (let i = 0; i < count; i++) {
        const pod = machine.netns(`${name}-pod${pods.length}`);
        pods.push({ netns: pod, address: await node.add(`${name}-pod${pods.length}`, pod) });
      }
    }
    const [first, second, far] = pods;
    if (!first || !second || !far) throw new Error('three pods');
    const path = (to: typeof far): Path => ({ from: first.netns, to: to.netns, address: to.address });
    return { 'same node': path(second), vxlan: path(far) };
  };
  const guarded = await cluster('on', true);
  const open = await cluster('off', false);
  kv.close();
  return await measure(machine, guarded, open);
});

async function measure(machine: Machine, guarded: Paths, open: Paths): Promise<Row[]> {
  for (const { to } of [...Object.values(guarded), ...Object.values(open)]) {
    machine.spawn(pinned(process.execPath, PINGPONG, 'serve'), { netns: to, log: 'pingpong.log' });
  }
  await sleep(1000);
  const rows: Row[] = [];
  for (const name of ['same node', 'vxlan'] as const) {
    const times = { guarded: [] as number[], open: [] as number[] };
    for (let i = 0; i < ROUNDS; i++) {
      const turns = [
        [times.guarded, guarded[name]],
        [times.open, open[name]],
      ] as const;
      for (const [list, path] of i % 2 ? turns : turns.toReversed()) {
        list.push(await roundTrip(machine, path));
      }
    }
    const reference = median(times.open);
    const budget = { atMost: 1.03 };
    rows.push(row(`UDP round trip, ${name}`, 'µs', median(times.guarded), { reference, budget }));
  }
  return rows;
}

/** Both ends on one processor: otherwise waking the other one dominates the measurement. */
async function roundTrip(machine: Machine, { from, address }: Path): Promise<number> {
  return Number(await machine.output(pinned(process.execPath, PINGPONG, address, `${EXCHANGES}`), from));
}

function pinned(...command: string[]): string[] {
  return ['taskset', '--cpu-list', '0', ...command];
}
