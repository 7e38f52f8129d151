// Round trips and TCP connections between two pods of a node under many rules, compared with no policy (but
// connection tracking, as every cluster has) and with a chain of iptables of as many rules; they take
// turns, with ten rules besides. Then what changes cost, in a cluster of 5,000 pods. See docs/benchmarks.md.
//   node bench/policy.ts [--json]
import { nthIp } from '../src/ip/cidr.ts';
import type { Tier } from '../src/policy/model/policy.ts';
import { benchmark, type Machine } from './lib/machine.ts';
import { APPS, CLUSTER, facts, oneOf, pod, podsOf, policy, policyOf, tiersOf } from './lib/policies.ts';
import { CLIENT, PORT, PolicyNode, SERVER } from './lib/policy-node.ts';
import { median, number, type Row, row } from './lib/report.ts';
import { Shell } from './lib/shell.ts';

const FEW = 10;
const SIZES = [FEW, 1000, 10_000];
const ROUNDS = 7;
/** Of the cluster, and of them on the node. */
const [PODS, LOCAL] = [5000, 100];
const POLICIES = 1000;
const BLOCKS = 5000;

const KINDS = ['established', 'new', 'tcp'] as const;
type Times = Readonly<Record<(typeof KINDS)[number], number[]>>;

async function inTurns<K extends string>(nodes: Record<K, PolicyNode>): Promise<Record<K, Times>> {
  const names = Object.keys(nodes) as K[];
  const times = Object.fromEntries(
    names.map((name) => [name, { established: [], new: [], tcp: [] } satisfies Times]),
  ) as unknown as Record<K, Times>;
  for (let i = 0; i < ROUNDS; i++) {
    for (const name of i % 2 ? names : names.toReversed()) {
      times[name].established.push(await nodes[name].roundTrip());
      times[name].new.push(await nodes[name].roundTrip('new'));
      times[name].tcp.push(await nodes[name].connectionRate());
    }
  }
  return times;
}

/** `few`: under the fewest rules. */
function compared(rules: string, times: Record<'none' | 'ours' | 'chain' | 'few', Times>): Row[] {
  return KINDS.flatMap((kind) => {
    const of = (each: Times): number => median(each[kind]);
    const [none, ours] = [of(times.none), of(times.ours)];
    const [what, unit] = kind === 'tcp' ? ['TCP connections', '/s'] : [`round trip, ${kind}`, 'µs'];
    const budget = kind === 'tcp' ? { atLeast: 0.95 } : { atMost: 1.05 };
    return [
      row(`${rules}: ${what}, against none`, unit, ours, { reference: none }),
      row('  in a chain of iptables', unit, of(times.chain), { reference: none }),
      row(`  against ${FEW} rules`, unit, ours, { reference: of(times.few), budget }),
    ];
  });
}

/** What one pod more, and one policy more, cost a node of a large cluster. */
async function changes(machine: Machine): Promise<Row[]> {
  const node = await PolicyNode.create(machine, 'large');
  const pods = podsOf(PODS);
  const written = Array.from({ length: POLICIES }, (_, i) => policy(`p${i}`, [i % APPS], [80 + (i % 20)]));
  const tiers = tiersOf(written);
  const full = await node.apply(facts(pods, tiers));
  const more = [...pods, pod(PODS)];
  const onePod = await node.apply(facts(more, tiers));
  const onePolicy = await node.apply(facts(more, tiersOf([...written, policy('more', [7], [PORT])])));
  const all = await node.apply(facts(more, tiersOf([...written, ABOUT_ALL]), LOCAL));
  const of = `${number(POLICIES)} policies, ${number(PODS)} pods`;
  return [
    row(`${of}: from nothing to the kernel`, 'ms', full.took),
    row('  one pod more', 'ms', onePod.took),
    row('  one pod more, elements', '', onePod.changes),
    row('  one policy more', 'ms', onePolicy.took),
    row('  one policy more, elements', '', onePolicy.changes),
    row(`  one about all pods more, ${LOCAL} of them here`, 'ms', all.took),
    row('  one about all pods more, elements', '', all.changes),
    row('  memory of this process', 'MB', process.memoryUsage().rss / 1e6),
  ];
}

/** What networks cost: each pod of the node has policies with some of its own. */
async function networks(machine: Machine): Promise<Row[]> {
  const node = await PolicyNode.create(machine, 'networks');
  const pods = podsOf(LOCAL);
  const block = (i: number): object => ({
    ipBlock: { cidr: `100.${64 + (i >> 14)}.${(i >> 6) & 255}.${(i & 63) * 4}/32` },
  });
  const of = (count: number): readonly Tier[] =>
    tiersOf(
      pods.map((each, i) => {
        const from = Array.from({ length: Math.ceil((count - i) / LOCAL) }, (_, j) => block(i + j * LOCAL));
        const ingress = [{ from, ports: [{ port: 443 }] }];
        return policyOf(`net${i}`, { podSelector: { matchLabels: { name: each.name } }, ingress });
      }),
    );
  const full = await node.apply(facts(pods, of(BLOCKS), LOCAL));
  const one = await node.apply(facts(pods, of(BLOCKS + 1), LOCAL));
  return [
    row(`${number(BLOCKS)} ipBlocks, ${LOCAL} pods: tables computed`, 'ms', full.compiled, {
      budget: { atMost: 1000 },
    }),
    row('  from nothing to the kernel', 'ms', full.took),
    row('  one ipBlock more', 'ms', one.took),
    row('  one ipBlock more, elements', '', one.changes),
  ];
}

const ABOUT_ALL = policyOf('all', {
  podSelector: {},
  ingress: [{ from: [{ podSelector: { matchLabels: { all: '' } } }], ports: [{ port: 80 }] }],
});

/** The client’s rules are the last. */
async function linear({ netns }: PolicyNode, size: number): Promise<void> {
  const others = Array.from(
    { length: size - 2 },
    (_, i) =>
      `-A server -s ${nthIp(CLUSTER, 100 + (i % APPS))}/32 -p udp -m udp --dport ${1000 + Math.floor(i / APPS)} -j ACCEPT`,
  );
  const own = ['tcp', 'udp'].map(
    (each) => `-A server -s ${CLIENT}/32 -p ${each} -m ${each} --dport ${PORT} -j ACCEPT`,
  );
  const rules = [
    '*filter',
    ':server - [0:0]',
    '-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT',
    `-A FORWARD -d ${SERVER}/32 -j server`,
    ...others,
    ...own,
    '-A server -j DROP',
    'COMMIT',
  ];
  await using shell = new Shell(netns);
  await shell.run(`iptables-restore <<'END'\n${rules.join('\n')}\nEND`);
}

await benchmark('policy', async (machine) => {
  const none = await PolicyNode.create(machine, 'none');
  await none.track();
  const few = await PolicyNode.create(machine, 'few');
  await few.apply(facts(podsOf(APPS), tiersOf([oneOf(FEW)])));
  const rows: Row[] = [];
  for (const size of SIZES) {
    const ours = await PolicyNode.create(machine, `ours${size}`);
    const chain = await PolicyNode.create(machine, `chain${size}`);
    const { took } = await ours.apply(facts(podsOf(APPS), tiersOf([oneOf(size)])));
    await linear(chain, size);
    const rules = `${number(size)} rules`;
    rows.push(...compared(rules, await inTurns({ none, few, ours, chain })));
    rows.push(row(`${rules}: from nothing to the kernel`, 'ms', took));
  }
  return [...rows, ...(await changes(machine)), ...(await networks(machine))];
});
