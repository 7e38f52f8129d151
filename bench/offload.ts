// What handing connections that last to a flowtable gains and costs, between two pods of a node: round trips
// and a stream over one TCP connection, and connections a second, offloaded or not, under few rules and many,
// compared with no policy (but connection tracking, as every cluster has); they take turns. Where this kernel
// has no flowtables, it says so: scripts/vm scripts/bench offload. See docs/benchmarks.md.
//   node bench/offload.ts [--json]
import { Flowtables } from '../src/agent/policy/flowtables.ts';
import { benchmark, type Machine } from './lib/machine.ts';
import { APPS, facts, oneOf, podsOf, policyOf, tiersOf } from './lib/policies.ts';
import { LASTING, PolicyNode } from './lib/policy-node.ts';
import { median, number, type Row, row } from './lib/report.ts';

const SIZES = [10, 10_000];
/** Emulated, a round takes minutes. */
const ROUNDS = process.env.FLATNET_EMULATED ? 3 : 7;

const KINDS = [
  { what: 'round trip, one TCP connection', unit: 'µs', measure: (node: PolicyNode) => node.flowRoundTrip() },
  { what: 'TCP, one stream', unit: 'Gb/s', measure: (node: PolicyNode) => node.throughput() },
  { what: 'TCP connections', unit: '/s', measure: (node: PolicyNode) => node.connectionRate() },
] as const;
/** Of each kind. */
type Times = readonly number[][];
type Nodes = 'none' | 'on' | 'off';

await benchmark('offload', async (machine) => {
  const flowtables = new Flowtables();
  if (!(await flowtables.areThere())) {
    return [{ what: `not measured: ${flowtables.refusal}; see scripts/vm`, unit: '' }];
  }
  const none = await PolicyNode.create(machine, 'none');
  await none.track();
  const rows: Row[] = [];
  for (const size of SIZES) {
    const nodes = { none, on: await policed(machine, size, true), off: await policed(machine, size, false) };
    rows.push(...compared(`${number(size)} rules`, await inTurns(nodes)));
  }
  return rows;
});

/** A node with so many rules about one of its pods, and one for the connections that are measured. */
async function policed(machine: Machine, size: number, offload: boolean): Promise<PolicyNode> {
  const node = await PolicyNode.create(machine, `${offload ? 'on' : 'off'}${size}`);
  const lasting = policyOf('lasting', {
    podSelector: { matchLabels: { app: 'server' } },
    ingress: [{ from: [{ podSelector: {} }], ports: Object.values(LASTING).map((port) => ({ port })) }],
  });
  await node.apply(facts(podsOf(APPS), tiersOf([oneOf(size), lasting])), { offload });
  if (offload && !(await node.offloads())) throw new Error('the kernel has offloaded nothing');
  return node;
}

async function inTurns(nodes: Record<Nodes, PolicyNode>): Promise<Record<Nodes, Times>> {
  const names = ['none', 'on', 'off'] as const;
  const empty = (): number[][] => KINDS.map(() => []);
  const times = { none: empty(), on: empty(), off: empty() };
  for (let i = 0; i < ROUNDS; i++) {
    for (const name of i % 2 ? names : names.toReversed()) {
      for (const [kind, { measure }] of KINDS.entries()) times[name][kind]?.push(await measure(nodes[name]));
    }
  }
  return times;
}

function compared(rules: string, times: Record<Nodes, Times>): Row[] {
  return KINDS.flatMap(({ what, unit }, kind) => {
    const of = (name: Nodes): number => median(times[name][kind] ?? []);
    const [none, on, off] = [of('none'), of('on'), of('off')];
    return [
      row(`${rules}: ${what}, offloaded, against not`, unit, on, { reference: off }),
      row('  offloaded, against no policy', unit, on, { reference: none }),
      row('  not offloaded, against no policy', unit, off, { reference: none }),
    ];
  });
}
