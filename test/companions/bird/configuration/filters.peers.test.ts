import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type BgpFilter, type FilterRule, NO_RESOURCES } from '../../../../src/cluster/resources.ts';
import { parseCidr } from '../../../../src/ip/cidr.ts';
import { NO_BIRD } from '../bird.ts';
import { Cluster, until } from '../underlay.ts';

const skip = NO_BIRD || (process.geteuid?.() !== 0 ? 'needs root' : false);

/** The routes n2 receives from n1, which exports by these rules. */
async function heard(cluster: Cluster, exportV4: readonly FilterRule[], exportV6: readonly FilterRule[]) {
  const filter: BgpFilter = { name: 'out', exportV4, exportV6, importV4: [], importV6: [] };
  const peers = { nextHopMode: 'Auto', sourceAddress: 'UseNodeIP', bfd: false } as const;
  cluster.resources = {
    ...NO_RESOURCES,
    bgpPeers: [{ name: 'all', peerSelector: 'all()', filters: [filter.name], ...peers }],
    bgpFilters: [filter],
  };
  await cluster.apply();
  const nets = async (session: string): Promise<string[]> => {
    const routes = await cluster.bird('n2').routes(session);
    return routes.map(({ net }) => net).sort();
  };
  return async () => [...(await nets('Node_10_0_1_1')), ...(await nets('Node_fd00_1__1'))];
}

test('a BGPFilter exports what is advertised, and routes of the host only if it names them', {
  skip,
  timeout: 300_000,
}, async (t) => {
  const cluster = new Cluster(t);
  cluster.node();
  cluster.node();
  const BLOCKS = ['10.244.1.0/26', 'fd10:1::/122'];
  const all: FilterRule = { action: 'Accept' };
  const besides = (cidr: string): FilterRule => ({
    action: 'Accept',
    matchOperator: 'NotIn',
    cidr: parseCidr(cidr),
  });
  const named = (cidr: string, matchOperator: 'Equal' | 'In'): FilterRule => ({
    action: 'Accept',
    matchOperator,
    cidr: parseCidr(cidr),
  });
  type Case = [FilterRule[], FilterRule[], string[]];
  // Runs before each of the others, so that their exports are a change.
  const open: Case = [
    [named('0.0.0.0/0', 'Equal'), all],
    [named('::/0', 'Equal'), all],
    ['0.0.0.0/0', '10.244.1.0/26', '::/0', 'fd10:1::/122'],
  ];
  const cases: Case[] = [
    [[all], [all], BLOCKS],
    [
      [named('10.0.1.0/24', 'In')],
      [named('fd00:1::/64', 'In')],
      ['10.0.1.0/24', '10.244.1.0/26', 'fd00:1::/64', 'fd10:1::/122'],
    ],
    [[besides('192.0.2.0/24')], [besides('2001:db8::/32')], BLOCKS],
    [[{ action: 'Accept', interface: 'eth*' }], [{ action: 'Accept', prefixLength: { max: 100 } }], BLOCKS],
    [[all, { action: 'Reject' }], [{ action: 'Reject' }], BLOCKS.slice(0, 1)],
  ];
  for (const [exportV4, exportV6, wanted] of cases.flatMap((each) => [open, each])) {
    const hears = await heard(cluster, exportV4, exportV6);
    let last: string[] = [];
    await until('n2 receives what the rules allow', async () => {
      last = await hears();
      return JSON.stringify(last) === JSON.stringify(wanted);
    }).catch(() => assert.deepEqual(last, wanted, JSON.stringify([exportV4, exportV6])));
  }
});
