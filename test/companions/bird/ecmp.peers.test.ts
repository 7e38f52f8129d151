import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { NO_RESOURCES } from '../../../src/cluster/resources.ts';
import { parseIp } from '../../../src/ip/address.ts';
import { parseCidr } from '../../../src/ip/cidr.ts';
import { NO_BIRD } from './bird.ts';
import { MESH_OFF, PEER, reflectors } from './configuration/resources.ts';
import { Cluster, startRouter, type Underlay, until } from './underlay.ts';

const skip = NO_BIRD || (process.geteuid?.() !== 0 ? 'needs root' : false);
const LIMIT = 60_000;

/** The next hops to a network, sorted; `ip route` writes each of several on its own line. */
function nextHops(underlay: Underlay, name: string, network: string): string[] {
  const text = underlay.run(name, 'ip', 'route', 'show', network).replaceAll(' linkdown', '').trim();
  return (text.match(/via \S+ dev \S+(?:.* onlink)?/g) ?? [])
    .map((hop) => hop.replace(/ (?:weight|proto|metric).* onlink/, ' onlink').trim())
    .sort();
}

/** A router that announces other racks' blocks with itself as next hop. */
function router(underlay: Underlay, host: number, as: number, networks: readonly string[]): void {
  const name = `tor${host}`;
  underlay.machine(name, 1, host);
  startRouter(
    underlay,
    name,
    `router id 10.0.1.${host};
protocol device { }
protocol static { ipv4; ${networks.map((network) => `route ${network} blackhole;`).join(' ')} }
protocol bgp node { local as ${as}; neighbor 10.0.1.1 as 64512; connect delay time 1; connect retry time 1;
  ipv4 { import all; export where source = RTS_STATIC; next hop self; }; }
`,
  );
}

test('two routers of a rack: traffic uses both, and the remaining one when one fails', {
  skip,
  timeout: 300_000,
}, async (t) => {
  const cluster = new Cluster(t);
  const { underlay } = cluster;
  cluster.node(1);
  cluster.pools = [
    { cidr: parseCidr('10.244.0.0/16'), ipipMode: 'Never', disableBgpExport: false },
    // A router terminates no tunnel, whatever the pool says.
    { cidr: parseCidr('10.245.0.0/16'), ipipMode: 'Always', disableBgpExport: false },
  ];
  const both = ['10.244.50.0/26', '10.245.50.0/26', '172.31.0.0/16'];
  const tors = [
    { host: 200, as: 65001, networks: [...both, '10.244.51.0/26'] },
    { host: 201, as: 65002, networks: both },
  ];
  for (const { host, as, networks } of tors) router(underlay, host, as, networks);
  cluster.resources = {
    ...NO_RESOURCES,
    bgpPeers: tors.map(({ host, as }) => ({
      ...PEER,
      name: `tor${host}`,
      peerIp: parseIp(`10.0.1.${host}`),
      asNumber: as,
    })),
  };
  await cluster.apply();
  const TWO = ['via 10.0.1.200 dev eth0', 'via 10.0.1.201 dev eth0'];
  const are = (network: string, wanted: readonly string[]): Promise<number> =>
    until(
      `${network} ${wanted.join(', ')}`,
      () => nextHops(underlay, 'n1', network).join() === wanted.join(),
      LIMIT,
    );
  for (const network of both) await are(network, TWO);
  await are('10.244.51.0/26', TWO.slice(0, 1));
  assert.equal(underlay.run('n1', 'ip', 'route', 'show', 'proto', 'bird').match(/^\S*\//gm)?.length, 4);
  underlay.run('tor200', 'sh', '-c', `kill -9 $(cat ${join(underlay.folder, 'tor200', 'bird.pid')})`);
  for (const network of both) await are(network, TWO.slice(1));
  await are('10.244.51.0/26', []);
});

test('a block announced by two reflectors has one route; a block of two nodes has two, in the tunnel too', {
  skip,
  timeout: 300_000,
}, async (t) => {
  const cluster = new Cluster(t);
  const { underlay } = cluster;
  const [, r1, r2] = [cluster.node(1), cluster.node(1), cluster.node(2), cluster.node(1), cluster.node(2)];
  assert.ok(r1 && r2);
  cluster.resources = {
    ...NO_RESOURCES,
    bgpConfiguration: MESH_OFF,
    bgpPeers: [{ ...PEER, nodeSelector: 'all()', peerSelector: 'has(rr)' }],
    nodes: reflectors(r1, r2),
  };
  for (const name of ['n4', 'n5']) cluster.claim(name, '10.244.77.0/26');
  const expected = {
    Never: { one: 'via 10.0.1.4 dev eth0', other: /via 10\.0\.\S+ dev eth0/ },
    CrossSubnet: { one: 'via 10.0.1.4 dev eth0', other: /via 10\.0\.2\.5 dev tunl0 onlink/ },
    Always: { one: 'via 10.0.1.4 dev tunl0 onlink', other: /via 10\.0\.2\.5 dev tunl0 onlink/ },
  } as const;
  for (const ipipMode of ['Never', 'CrossSubnet', 'Always'] as const) {
    cluster.pools = [{ cidr: parseCidr('10.244.0.0/16'), ipipMode, disableBgpExport: false }];
    await cluster.apply();
    const { one, other } = expected[ipipMode];
    let seen: string[][] = [];
    await until(
      `${ipipMode}: one path to n4`,
      () => {
        seen = ['10.244.4.0/26', '10.244.77.0/26'].map((network) => nextHops(underlay, 'n1', network));
        const [single = [], shared = []] = seen;
        const fits = single.length === 1 && single[0] === one;
        return fits && shared.length === 2 && shared.includes(one) && shared.some((hop) => other.test(hop));
      },
      LIMIT,
    ).catch((error: unknown) => assert.fail(`${String(error)}: ${JSON.stringify(seen)}`));
  }
});
