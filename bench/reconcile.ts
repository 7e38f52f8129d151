// The reconciler alone, in this process, programming 5,000 peers into a real kernel.
//   node bench/reconcile.ts [--json]
import { setTimeout as sleep } from 'node:timers/promises';
import { desiredState } from '../src/desired/desired.ts';
import { Memo } from '../src/desired/memo.ts';
import { linkDelete } from '../src/linux/link/change.ts';
import { linkGet } from '../src/linux/link/link.ts';
import { NETLINK_ROUTE, NetlinkSocket } from '../src/linux/netlink/socket.ts';
import { SILENT } from '../src/log.ts';
import type { Contribution } from '../src/state/contributions.ts';
import { changeText } from '../src/state/print.ts';
import { Reconciler } from '../src/state/reconciler.ts';
import type { Report } from '../src/state/reporter.ts';
import { benchmark, type Machine, wire } from './lib/machine.ts';
import { network, peers, replaced, self, UNDERLAY_ADDRESS } from './lib/peers.ts';
import { median, type Row, row } from './lib/report.ts';
import { onRequests } from './lib/requests.ts';
import { Watch } from './lib/watch.ts';

const PEERS = 5000;
const ROUNDS = 3;
const SINGLE_CHANGES = 100;
const STORM = 1000;
const BACKENDS = ['vxlan', 'host-gw'] as const;

type Round = {
  readonly empty: number;
  readonly unchanged: number;
  /** Per change. */
  readonly single: readonly number[];
  /** The largest number of requests a single change caused. */
  readonly requests: number;
  readonly storm: number;
  readonly healed: number;
};

let requests = 0;
onRequests((count) => {
  requests += count;
});

await benchmark(`reconciler, ${PEERS} peers`, async (machine) => {
  const rounds: Record<(typeof BACKENDS)[number], Round[]> = { vxlan: [], 'host-gw': [] };
  for (let i = 0; i < ROUNDS; i++) {
    for (const backend of BACKENDS) rounds[backend].push(await measure(machine, backend, `${backend}${i}`));
  }
  return BACKENDS.flatMap((backend) => rowsOf(backend, rounds[backend]));
});

function rowsOf(backend: string, rounds: readonly Round[]): Row[] {
  const medianOf = (name: Exclude<keyof Round, 'single'>): number =>
    median(rounds.map((round) => round[name]));
  const single = median(rounds.flatMap((round) => round.single));
  const rows = [
    row(`${backend}: empty kernel to full state`, 'ms', medianOf('empty'), { budget: { atMost: 2000 } }),
    row(`${backend}: reading a correct kernel`, 'ms', medianOf('unchanged')),
    row(`${backend}: one peer replaced, p50`, 'ms', single, { budget: { atMost: 20 } }),
    row(`${backend}: one peer replaced, netlink requests`, '', medianOf('requests'), {
      budget: { atMost: 6 },
    }),
    row(`${backend}: ${STORM} peers replaced at once`, 'ms', medianOf('storm')),
  ];
  if (backend !== 'vxlan') return rows;
  const budget = { atMost: 1000 };
  return [...rows, row('vxlan: flannel.1 deleted, to full state', 'ms', medianOf('healed'), { budget })];
}

async function measure(machine: Machine, backend: string, label: string): Promise<Round> {
  const netns = machine.netns(label);
  await wire([{ netns, address: UNDERLAY_ADDRESS }, { netns: machine.netns(`${label}-far`) }]);
  const facts = { network: network(backend), self: self(backend), pods: [] };
  const nodes = peers(backend, PEERS);
  const memo = new Memo();
  const desired = (): readonly Contribution[] =>
    desiredState({ ...facts, peers: [...nodes] }, memo).contributions;

  using reconciler = new Reconciler({ netns, log: SILENT });
  reconciler.allowPrune();
  const follow = async (): Promise<void> => {
    reconciler.setDesired(desired());
    whole(await reconciler.run());
  };
  const replace = (from: number, count: number, generation: number): Promise<number> => {
    for (let i = from; i < from + count; i++) nodes[i] = replaced(backend, i, generation);
    return timed(follow);
  };
  const empty = await timed(follow);
  const single: number[] = [];
  let most = 0;
  for (let i = 0; i < SINGLE_CHANGES; i++) {
    const before = requests;
    single.push(await replace(i * 7, 1, 1));
    most = Math.max(most, requests - before);
  }
  if (most === 0) throw new Error('changes were made, but no netlink request was counted');
  const storm = await replace(0, STORM, 2);
  const { unchanged, healed } = await heal(netns, backend, desired());
  return { empty, unchanged, single, requests: most, storm, healed };
}

/** A second reconciler, as after a restart: finds everything in order, then loses the tunnel device. */
async function heal(netns: string, backend: string, contributions: readonly Contribution[]) {
  const stopping = new AbortController();
  const reconciler = new Reconciler({ netns, log: SILENT });
  reconciler.setDesired(contributions);
  reconciler.allowPrune();
  const unchanged = await timed(async () => {
    const { done } = whole(await reconciler.run());
    const [other] = done;
    if (other) throw new Error(`the kernel was not complete: ${changeText(other)}`);
  });
  reconciler.start(stopping.signal);
  try {
    if (backend !== 'vxlan') return { unchanged, healed: Number.NaN };
    await sleep(500); // lets its first full check finish
    using socket = NetlinkSocket.open(NETLINK_ROUTE, { netns });
    using watch = new Watch(netns, ['route']);
    // Routes come after everything they depend on.
    const healed = watch.count(({ type, object }) => type === 'new' && object === 'route', PEERS);
    const { index } = await socket.get(linkGet('flannel.1'));
    const start = performance.now();
    await socket.execute([linkDelete(index)]);
    return { unchanged, healed: (await healed) - start };
  } finally {
    stopping.abort();
  }
}

function whole(report: Report): Report {
  const [first] = report.undone;
  if (first) throw new Error(`the kernel is not complete: ${first.reason}`);
  return report;
}

async function timed(work: () => Promise<void>): Promise<number> {
  const start = performance.now();
  await work();
  return performance.now() - start;
}
