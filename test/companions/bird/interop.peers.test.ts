import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { type BgpPeer, NO_RESOURCES } from '../../../src/cluster/resources.ts';
import { parseIp } from '../../../src/ip/address.ts';
import { parseCidr } from '../../../src/ip/cidr.ts';
import { BIRD, NO_BIRD } from './bird.ts';
import { MESH_OFF, PEER } from './configuration/resources.ts';
import { Cluster, type Underlay, until } from './underlay.ts';

function without(program: string, debianPackage: string): string | false {
  if (NO_BIRD) return NO_BIRD;
  if (process.geteuid?.() !== 0) return 'needs root';
  return existsSync(program) || process.env.CI ? false : `needs ${program}: apt-get install ${debianPackage}`;
}

/** FRR's zebra and bgpd as a router: it installs what it learns in its kernel. */
function startFrr(underlay: Underlay, name: string, bgp: string): void {
  const folder = join(underlay.folder, name);
  mkdirSync(folder);
  writeFileSync(join(folder, 'zebra.conf'), `hostname ${name}\n`);
  writeFileSync(join(folder, 'bgpd.conf'), bgp);
  // Both run as user frr, whichever user starts them.
  chmodSync(underlay.folder, 0o711);
  execFileSync('chown', ['-R', 'frr:frr', folder]);
  for (const daemon of ['zebra', 'bgpd']) {
    const own = ['-f', join(folder, `${daemon}.conf`), '-i', join(folder, `${daemon}.pid`)];
    const shared = [
      '-z',
      join(folder, 'zserv'),
      '--vty_socket',
      folder,
      '--log',
      `file:${folder}/${daemon}.log`,
    ];
    underlay.start(name, `/usr/lib/frr/${daemon}`, ...own, ...shared);
  }
}

function startPlainBird(underlay: Underlay, name: string, config: string): ReturnType<Underlay['start']> {
  const folder = join(underlay.folder, name);
  mkdirSync(folder);
  writeFileSync(join(folder, 'bird.conf'), config);
  return underlay.start(name, BIRD ?? 'bird', '-f', '-c', `${folder}/bird.conf`, '-s', `${folder}/bird.ctl`);
}

const toFrr = without('/usr/lib/frr/bgpd', 'frr');

test('top-of-rack routers: FRR and a plain BIRD, each with its AS and password', {
  skip: toFrr,
  timeout: 300_000,
}, async (t) => {
  const cluster = new Cluster(t);
  const { underlay } = cluster;
  cluster.node();
  cluster.node();
  underlay.machine('frr', 1, 200);
  underlay.machine('plain', 1, 201);
  const neighbor = (address: string): string =>
    ` neighbor ${address} remote-as 64512\n neighbor ${address} password frr-password\n`;
  startFrr(
    underlay,
    'frr',
    `router bgp 65001
 bgp router-id 10.0.1.200
 no bgp ebgp-requires-policy
 no bgp network import-check
${neighbor('10.0.1.1')}${neighbor('10.0.1.2')} address-family ipv4 unicast
  network 172.30.0.0/16
  network 172.30.99.0/24
  maximum-paths 4
`,
  );
  const session = (n: number): string =>
    `protocol bgp n${n} { local as 65002; neighbor 10.0.1.${n} as 64512; password "pw"; bfd on;
  ipv4 { import filter { if (64512, 7) ~ bgp_community then accept; reject; }; export where source = RTS_STATIC; }; }`;
  const plain = startPlainBird(
    underlay,
    'plain',
    `router id 10.0.1.201;
protocol device { }
protocol bfd { interface "*" { interval 200 ms; multiplier 3; }; }
protocol direct { ipv4; }
protocol static { ipv4; route 172.31.0.0/16 blackhole; }
protocol kernel { ipv4 { export where source = RTS_BGP; }; }
${session(1)}
${session(2)}
`,
  );
  cluster.secrets = new Map([
    ['tor/frr', 'frr-password'],
    ['tor/plain', 'pw'],
  ]);
  const tor = (name: string, address: string, asNumber: number): BgpPeer => ({
    ...PEER,
    name,
    peerIp: parseIp(address),
    asNumber,
    password: { name: 'tor', key: name },
  });
  cluster.resources = {
    ...NO_RESOURCES,
    bgpConfiguration: {
      ...NO_RESOURCES.bgpConfiguration,
      serviceCidrs: [parseCidr('10.96.0.0/12')],
      prefixAdvertisements: [{ cidr: parseCidr('10.244.0.0/16'), communities: [[64512, 7]] }],
    },
    bgpPeers: [
      { ...tor('frr', '10.0.1.200', 65001), filters: ['no-99'] },
      { ...tor('plain', '10.0.1.201', 65002), bfd: true },
    ],
    bgpFilters: [
      {
        name: 'no-99',
        importV4: [{ action: 'Reject', cidr: parseCidr('172.30.99.0/24'), matchOperator: 'Equal' }],
        exportV4: [],
        importV6: [],
        exportV6: [],
      },
    ],
  };
  await cluster.apply();
  const table = (name: string): string =>
    underlay
      .run(name, 'ip', 'route')
      .replaceAll(/ nhid \d+/g, '')
      .replaceAll(/\s+/g, ' ');
  const has = (name: string, ...routes: string[]): boolean =>
    routes.every((route) => table(name).includes(route));

  await t.test('FRR reaches every block through its own node, and the services through any', async () => {
    await until('FRR has the blocks', () =>
      has('frr', '10.244.1.0/26 via 10.0.1.1', '10.244.2.0/26 via 10.0.1.2'),
    );
    const both = /10\.96\.0\.0\/12 proto bgp metric 20( nexthop via 10\.0\.1\.[12] dev eth0 weight 1){2}/;
    await until('FRR has the services', () => both.test(table('frr')));
  });
  await t.test('the nodes have what FRR announces, except what a BGPFilter refuses', async () => {
    await until('the network is there', () =>
      ['n1', 'n2'].every((name) => has(name, '172.30.0.0/16 via 10.0.1.200', '172.31.0.0/16 via 10.0.1.201')),
    );
    assert.ok(!has('n1', '172.30.99.0/24'));
  });
  await t.test('the plain BIRD accepts only routes with the community', async () => {
    await until('it has the blocks', () =>
      has('plain', '10.244.1.0/26 via 10.0.1.1', '10.244.2.0/26 via 10.0.1.2'),
    );
    assert.ok(!has('plain', '10.96.0.0/12'));
  });
  await t.test('BFD detects a stopped router', async (t) => {
    plain.kill('SIGSTOP');
    // Without BFD it takes the hold time, 90 s.
    const took = await until('its route is gone', () => !has('n1', '172.31.0.0/16'), 30_000);
    t.diagnostic(`${Math.round(took)} ms`);
  });
});

const toGo = without('/usr/bin/gobgpd', 'gobgpd');

test('GoBGP as the route reflector: next hops kept, into the tunnel', {
  skip: toGo,
  timeout: 300_000,
}, async (t) => {
  const cluster = new Cluster(t);
  const { underlay } = cluster;
  const nodes = [cluster.node(1), cluster.node(1), cluster.node(2)];
  underlay.machine('go', 2, 100);
  const neighbors = nodes.map(
    ({ addresses }) => `[[neighbors]]
  [neighbors.config]
    neighbor-address = "${addresses[4]}"
    peer-as = 64512
    auth-password = "reflected"
  [neighbors.route-reflector.config]
    route-reflector-client = true
    route-reflector-cluster-id = "244.0.0.1"
  [neighbors.transport.config]
    passive-mode = true
  [[neighbors.afi-safis]]
    [neighbors.afi-safis.config]
      afi-safi-name = "ipv4-unicast"
`,
  );
  const config = join(underlay.folder, 'gobgpd.toml');
  writeFileSync(config, `[global.config]\n  as = 64512\n  router-id = "10.0.2.100"\n${neighbors.join('')}`);
  underlay.start('go', '/usr/bin/gobgpd', '-f', config);
  cluster.secrets = new Map([['rr/key', 'reflected']]);
  cluster.pools = [{ cidr: parseCidr('10.244.0.0/16'), ipipMode: 'Always', disableBgpExport: false }];
  cluster.resources = {
    ...NO_RESOURCES,
    bgpConfiguration: MESH_OFF,
    bgpPeers: [
      { ...PEER, peerIp: parseIp('10.0.2.100'), asNumber: 64512, password: { name: 'rr', key: 'key' } },
    ],
  };
  await cluster.apply();
  await until('all is reflected', () => nodes.every(({ name }) => underlay.routes(name).length === 3));
  assert.deepEqual(underlay.routes('n1').sort(), [
    '10.244.2.0/26 via 10.0.1.2 dev tunl0 proto bird metric 32 onlink',
    '10.244.3.0/26 via 10.0.2.3 dev tunl0 proto bird metric 32 onlink',
    'blackhole 10.244.1.0/26 proto 110',
  ]);
});
