// Every way to carry packets between pods of two nodes, against the nodes themselves in the same rounds; and
// our udp against flannel's own program in C, if scripts/flanneld has built it.
//   node bench/backends.ts [--json]
import { bench, type Measured } from '../src/lab/bench/bench.ts';
import { median, type Sample, sample } from '../src/lab/bench/measure.ts';
import { schemes } from '../src/lab/bench/scheme.ts';
import { flannelsUdp, hasFlannel } from './lib/flannel.ts';
import { benchmark, type Machine } from './lib/machine.ts';
import { type Row, row } from './lib/report.ts';

const ROUNDS = 3;
const EFFORT = { seconds: 2, pings: 5000, env: {} };

await benchmark('backends', async (machine) => {
  const name = `bench${process.pid}`;
  const options = { name, rounds: ROUNDS, effort: EFFORT, signal: new AbortController().signal };
  const rows: Row[] = [];
  let [vxlan, udp]: (Measured | undefined)[] = [];
  for await (const result of bench(schemes(), { ...options, progress: () => {} })) {
    if ('reason' in result) {
      console.error(`backends: without ${result.scheme}: ${result.reason}`);
      continue;
    }
    if (result.scheme === 'vxlan') vxlan = result;
    if (result.scheme === 'udp') udp = result;
    rows.push(...rowsOf(result));
  }
  if (vxlan && udp) {
    const reference = vxlan.pods.throughput;
    rows.push(
      row('TCP, udp against vxlan', 'Gb/s', udp.pods.throughput, { reference, budget: { atLeast: 0.75 } }),
    );
  }
  if (udp && hasFlannel()) rows.push(...againstFlannel(udp.pods, await flannels(machine)));
  return rows;
});

function rowsOf({ scheme, pods, nodes }: Measured): Row[] {
  const shown = (what: string, unit: string, of: keyof Sample): Row =>
    row(`${what}, ${scheme}`, unit, pods[of], { reference: nodes[of] });
  return [
    shown('TCP', 'Gb/s', 'throughput'),
    shown('ping flood', 'µs', 'roundTrip'),
    shown('processor time', 'ms/Gb', 'processor'),
  ];
}

async function flannels(machine: Machine): Promise<Sample> {
  const path = await flannelsUdp(machine);
  const samples: Sample[] = [];
  for (let round = 0; round < ROUNDS; round++) samples.push(await sample(path, EFFORT));
  return median(samples);
}

function againstFlannel(ours: Sample, theirs: Sample): Row[] {
  const shown = (what: string, unit: string, of: keyof Sample, budget: Row['budget']): Row =>
    row(`${what}, udp against flannel’s program`, unit, ours[of], {
      reference: theirs[of],
      ...(budget && { budget }),
    });
  return [
    shown('TCP', 'Gb/s', 'throughput', { atLeast: 10 }),
    shown('ping flood', 'µs', 'roundTrip', { atMost: 1 }),
    shown('processor time', 'ms/Gb', 'processor', undefined),
  ];
}
