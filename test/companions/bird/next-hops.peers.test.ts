import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type BgpFilter, NO_RESOURCES } from '../../../src/cluster/resources.ts';
import { gatewaysOf } from '../../../src/companions/bird/kernel/gateways.ts';
import { readMainTable } from '../../../src/companions/bird/kernel/main-table.ts';
import { parseIp } from '../../../src/ip/address.ts';
import { parseCidr } from '../../../src/ip/cidr.ts';
import { NO_BIRD } from './bird.ts';
import { PEER } from './configuration/resources.ts';
import { Cluster, startRouter, type Underlay, until } from './underlay.ts';

const skip = NO_BIRD || (process.geteuid?.() !== 0 ? 'needs root' : false);

/** A router of n1's rack, 10.0.1.200 and fd00:1::200, which announces these networks as its own. */
function router(underlay: Underlay, four: readonly string[], six: readonly string[]): void {
  underlay.machine('tor', 1, 200);
  const session = (family: 4 | 6, networks: readonly string[]): string => {
    const [own, node] = family === 4 ? ['10.0.1.200', '10.0.1.1'] : ['fd00:1::200', 'fd00:1::1'];
    const routes = networks.map((network) => `route ${network} blackhole;`).join(' ');
    return `protocol static Own${family} { ipv${family}; ${routes} }
protocol bgp n${family} { local ${own} as 65001; neighbor ${node} as 64512; connect delay time 1; connect retry time 1;
  ipv${family} { import all; export where source = RTS_STATIC; next hop self; }; }
`;
  };
  const config = `router id 10.0.1.200;\nprotocol device { }\n${session(4, four)}${session(6, six)}`;
  startRouter(underlay, 'tor', config);
}

/** BIRD's routes of a machine, as `ip route` writes them. */
function ofBird(underlay: Underlay, name: string): string[] {
  return [4, 6].flatMap((family) =>
    underlay
      .run(name, 'ip', `-${family}`, 'route', 'show', 'proto', 'bird')
      .split('\n')
      .map((line) => line.replace(/ (?:metric|pref|error) .*/, '').trim())
      .filter(Boolean)
      .sort(),
  );
}

async function are(underlay: Underlay, name: string, wanted: readonly string[]): Promise<void> {
  let last: string[] = [];
  await until(`routes of ${name}`, () => {
    last = ofBird(underlay, name);
    return last.join() === wanted.join();
  }).catch(() => assert.deepEqual(last, wanted));
}

const BLOCKS = ['10.244.2.0/26 via 10.0.1.254 dev eth0', 'fd10:2::/122 via fd00:1::254 dev eth0'] as const;

test('a router announces the underlay, a default, a node and a block: nothing of the underlay’s is replaced', {
  skip,
  timeout: 300_000,
}, async (t) => {
  const cluster = new Cluster(t);
  const { underlay } = cluster;
  cluster.node(1);
  cluster.node(2);
  await cluster.apply();
  await are(underlay, 'n1', BLOCKS);

  // n1's own block and pod, and n2's.
  underlay.run('n1', 'ip', 'route', 'add', '10.244.1.5/32', 'dev', 'tunl0', 'proto', '111');
  const others = ['10.244.1.0/26', '10.244.1.5/32', '172.31.0.0/16'];
  router(
    underlay,
    [
      ...others,
      '0.0.0.0/0',
      '10.0.0.0/8',
      '10.0.1.0/24',
      '10.0.1.0/25',
      '10.0.1.1/32',
      '10.0.2.0/24',
      '10.0.2.2/32',
    ],
    ['::/0', 'fd00::/16', 'fd00:1::/64', 'fd00:1::1/128', 'fd00:2::/64', 'fd00:2::2/128', 'fd99::/64'],
  );
  const tor = { ...PEER, name: 'tor', node: 'n1', asNumber: 65001 };
  const peers = [
    { ...tor, peerIp: parseIp('10.0.1.200') },
    { ...tor, name: 'tor6', peerIp: parseIp('fd00:1::200') },
  ];
  cluster.resources = { ...NO_RESOURCES, bgpPeers: peers };
  await cluster.apply();
  const harmless = [
    // The pod's own route has metric 0.
    '10.244.1.5 via 10.0.1.200 dev eth0',
    BLOCKS[0],
    '172.31.0.0/16 via 10.0.1.200 dev eth0',
    BLOCKS[1],
    'fd99::/64 via fd00:1::200 dev eth0',
  ];
  await are(underlay, 'n1', harmless);
  const ways = (...to: string[]): string[] =>
    to.map(
      (ip) =>
        underlay
          .run('n1', 'ip', 'route', 'get', ip)
          .split('\n')[0]
          ?.replace(/ (?:src|metric) .*/, '') ?? '',
    );
  assert.deepEqual(ways('10.244.1.5', '10.0.2.2', '10.0.1.7', '8.8.8.8'), [
    '10.244.1.5 dev tunl0',
    '10.0.2.2 via 10.0.1.254 dev eth0',
    '10.0.1.7 dev eth0',
    '8.8.8.8 via 10.0.1.254 dev eth0',
  ]);

  await t.test('a BGPFilter that accepts everything accepts the same', async () => {
    const accept = [{ action: 'Accept' }] as const;
    const filter: BgpFilter = { name: 'all', exportV4: [], importV4: accept, exportV6: [], importV6: accept };
    const filtered = peers.map((peer) => ({ ...peer, filters: ['all'] }));
    cluster.resources = { ...NO_RESOURCES, bgpPeers: filtered, bgpFilters: [filter] };
    await cluster.apply();
    await new Promise((resolve) => setTimeout(resolve, 1000));
    assert.deepEqual(ofBird(underlay, 'n1'), harmless);
  });

  await t.test('one that names them lets them in, and the blocks’ next hops still resolve', async () => {
    const named = (cidr: string) =>
      [{ action: 'Accept', matchOperator: 'In', cidr: parseCidr(cidr) }] as const;
    const filter: BgpFilter = {
      name: 'named',
      exportV4: [],
      importV4: named('0.0.0.0/0'),
      exportV6: [],
      importV6: named('::/0'),
    };
    const filtered = peers.map((peer) => ({ ...peer, filters: ['named'] }));
    cluster.resources = { ...NO_RESOURCES, bgpPeers: filtered, bgpFilters: [filter] };
    await cluster.apply();
    await until('the default is there', () =>
      ofBird(underlay, 'n1').some((route) => route.startsWith('default')),
    );
    for (const block of BLOCKS)
      assert.ok(ofBird(underlay, 'n1').includes(block), ofBird(underlay, 'n1').join('\n'));
    assert.deepEqual(await cluster.bird('n1').unreachable(), []);
  });
});

test('nodes with a /32 address and a gateway by a route with scope link', {
  skip,
  timeout: 300_000,
}, async (t) => {
  const cluster = new Cluster(t);
  const { underlay } = cluster;
  cluster.node(1);
  cluster.node(2);
  const table = () => readMainTable(underlay.netns('n1'));
  assert.deepEqual(gatewaysOf(await table()), []);
  for (const command of [
    'ip address del 10.0.1.1/24 dev eth0',
    'ip address add 10.0.1.1/32 dev eth0',
    'ip route add 10.0.1.254 dev eth0 scope link',
    'ip route add default via 10.0.1.254',
    'ip address del fd00:1::1/64 dev eth0',
    'ip address add fd00:1::1/128 dev eth0 nodad',
    'ip -6 route add fd00:1::254 dev eth0',
    'ip -6 route replace default via fd00:1::254',
  ]) {
    underlay.run('n1', ...command.split(' '));
  }
  // Without the gateways, BIRD has no way to n2.
  await cluster.apply();
  await are(underlay, 'n1', ['unreachable 10.244.2.0/26', 'unreachable fd10:2::/122 dev lo']);
  assert.deepEqual(
    (await cluster.bird('n1').unreachable()).map(({ net, attributes }) => [net, attributes['BGP.next_hop']]),
    [
      ['10.244.2.0/26', '10.0.2.2'],
      ['fd10:2::/122', 'fd00:2::2'],
    ],
  );
  cluster.gateways = gatewaysOf(await table());
  assert.deepEqual(cluster.gateways, [
    { dst: '0.0.0.0/0', hops: [{ via: '10.0.1.254', dev: 'eth0' }] },
    { dst: '::/0', hops: [{ via: 'fd00:1::254', dev: 'eth0' }] },
  ]);
  await cluster.apply('n1');
  await are(
    underlay,
    'n1',
    BLOCKS.map((block) => block),
  );
  assert.deepEqual(await cluster.bird('n1').unreachable(), []);
});
