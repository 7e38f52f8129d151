import assert from 'node:assert/strict';
import { test } from 'node:test';
import { configuredBackend, unknownKeys } from '../../src/backends/registry.ts';
import { readNetwork } from '../../src/cluster/network.ts';
import type { Encapsulation } from '../../src/cluster/resources.ts';
import type { Facts } from '../../src/desired/desired.ts';
import { parseIp } from '../../src/ip/address.ts';
import { parseCidr } from '../../src/ip/cidr.ts';
import { metricOf } from '../../src/state/kinds/route.ts';
import { command } from '../../src/state/print.ts';
import { composedState } from '../desired/composed.ts';
import { type TableContent, tableIn } from '../state/nft-items.ts';
import { factsOf, type Plan } from './cluster.ts';

const plan = (ipip: Encapsulation, more: Partial<Plan> = {}): Plan => ({
  size: 3,
  families: [4],
  backend: { Type: 'bgp', ipip },
  networks: 1,
  ...more,
});

const facts = (ipip: Encapsulation, more: Partial<Plan> = {}): Facts => {
  const all = factsOf(plan(ipip, more));
  return { ...all, self: { ...all.self, companion: { address: parseIp('10.0.1.1') } } };
};

const commands = (given: Facts, pattern: RegExp): string[] =>
  composedState(given)
    .items.filter(({ kind }) => !kind.startsWith('nft'))
    .map((item) => command(item, 'add'))
    .filter((text) => pattern.test(text));

const tableOf = (given: Facts, name: string): TableContent => {
  const found = tableIn(composedState(given).items, 'ip', `flatnet-${name}`);
  assert.ok(found);
  return found;
};

test('IPIP: the kernel’s own device and nothing per peer, because BIRD installs their routes', () => {
  assert.deepEqual(commands(facts('Always'), /tunl0|10\.0\.[23]\./), [
    "modprobe ipip && ip link set tunl0 mtu 1480 alias 'flatnet ipip' up",
    'sysctl -w net/ipv4/conf/tunl0/forwarding=1',
    'sysctl -w net/ipv4/conf/tunl0/accept_redirects=0',
    'sysctl -w net/ipv6/conf/tunl0/accept_ra=0',
    'sysctl -w net/ipv6/conf/tunl0/accept_redirects=0',
    'sysctl -w net/ipv4/conf/tunl0/rp_filter=2',
    'ip address replace 10.0.1.1/32 dev tunl0',
  ]);
  assert.equal(composedState(facts('Always')).mtu, 1480);
  assert.deepEqual(commands(facts('Never'), /tunl0/), []);
  assert.equal(composedState(facts('Never')).mtu, 1500);
});

test('the device exists even before the tunnel address is known', () => {
  const { companion: _, ...self } = facts('Always').self;
  const given = { ...facts('Always'), self };
  assert.equal(commands(given, /link set tunl0/).length, 1);
  assert.deepEqual(commands(given, /address replace .* dev tunl0/), []);
});

test('a block of one address is announced while the tunnel has it, and peers’ such blocks are left to BIRD', () => {
  const all = facts('Always', { backend: { Type: 'bgp', routes: 'agent', ipip: 'Always' } });
  const withSubnets = (...subnets: string[]) => {
    const mine = [...all.self.node.subnets, ...subnets.map(parseCidr)];
    return { ...all, self: { ...all.self, node: { ...all.self.node, subnets: mine } } };
  };
  const alone = /^ip route .*10\.0\.1\.[12]\/32/;
  assert.deepEqual(commands(all, alone), []);
  assert.deepEqual(commands(withSubnets('10.0.1.1/32', '10.0.1.2/32'), alone), [
    'ip route replace blackhole 10.0.1.1/32',
  ]);
  const peers = all.peers.map((peer) => ({ ...peer, subnets: [...peer.subnets, parseCidr('10.0.9.9/32')] }));
  assert.deepEqual(commands({ ...all, peers }, /10\.0\.9\.9/), []);
});

test('routes: agent sets the peers’ blocks itself, with the protocol that is never advertised', () => {
  const routes = (ipip: Encapsulation, networks = 1) =>
    commands(facts(ipip, { networks, backend: { Type: 'bgp', routes: 'agent', ipip } }), /^ip route .*via/);
  assert.deepEqual(routes('Always'), [
    'ip route replace 10.0.2.0/24 via 172.16.0.3 dev tunl0 proto 111 onlink',
    'ip route replace 10.0.3.0/24 via 172.16.0.4 dev tunl0 proto 111 onlink',
  ]);
  assert.deepEqual(routes('CrossSubnet', 2), [
    'ip route replace 10.0.2.0/24 via 172.17.0.3 dev tunl0 proto 111 onlink',
    'ip route replace 10.0.3.0/24 via 172.16.0.4 dev eth0 proto 111',
  ]);
  assert.deepEqual(routes('Never', 2), ['ip route replace 10.0.3.0/24 via 172.16.0.4 dev eth0 proto 111']);
});

test('while a change spreads, the tunnel only receives, pods have its MTU, and no route leads into it', () => {
  for (const [ipip, networks] of [
    ['Always', 1],
    ['CrossSubnet', 1],
    ['Never', 1],
  ] as const) {
    const all = facts(ipip, { networks, backend: { Type: 'bgp', routes: 'agent', ipip } });
    const given = {
      ...all,
      self: { ...all.self, companion: { address: parseIp('10.0.1.1'), onlyReceives: true } },
    };
    assert.deepEqual(
      commands(given, /tunl0|^ip route .*via/),
      [
        ...commands(facts('Always'), /tunl0/),
        'ip route replace 10.0.2.0/24 via 172.16.0.3 dev eth0 proto 111',
        'ip route replace 10.0.3.0/24 via 172.16.0.4 dev eth0 proto 111',
      ],
      ipip,
    );
    assert.equal(composedState(given).mtu, 1480);
    assert.deepEqual(tableOf(given, 'tunnels'), tableOf(facts('Always'), 'tunnels'));
  }
});

test('routes: agent take precedence over BIRD’s metric 32, also in IPv6, where the default is 1024', () => {
  const backend = { Type: 'bgp', routes: 'agent', ipip: 'Never' };
  const given = facts('Never', { families: [4, 6], backend });
  const routes = composedState(given).items.flatMap((item) =>
    item.kind === 'route' && item.via !== undefined ? [item] : [],
  );
  assert.equal(routes.length, 4);
  for (const route of routes) assert.ok(metricOf(route) < 32, `${route.dst} ${metricOf(route)}`);
});

test('protocol 4 is accepted from the other nodes; an added node is an added element', () => {
  const tunnels = tableOf(facts('Always'), 'tunnels');
  assert.deepEqual(tunnels.sets, { nodes: ['172.16.0.3', '172.16.0.4'] });
  const more = tableOf(facts('Always', { size: 4 }), 'tunnels');
  assert.deepEqual(more.sets.nodes?.length, 3);
  assert.deepEqual(more.table, tunnels.table);
  assert.equal(tableIn(composedState(facts('Never')).items, 'ip', 'flatnet-tunnels'), undefined);
});

test('a node with another backend may send too, while the cluster migrates', () => {
  const given = facts('Always');
  const peers = given.peers.map((peer) => ({ ...peer, backend: { type: 'vxlan', data: {} } }));
  assert.deepEqual(tableOf({ ...given, peers }, 'tunnels').sets.nodes, ['172.16.0.3', '172.16.0.4']);
});

test('masquerading exempts the ports on which nodes speak BGP', () => {
  const given = facts('Never');
  assert.ok(given.resources);
  const { bgpConfiguration } = given.resources;
  const resources = { ...given.resources, bgpConfiguration: { ...bgpConfiguration, listenPort: 1179 } };
  const { sets } = tableOf({ ...given, resources }, 'masquerade');
  assert.deepEqual(
    [sets['node-tcp'], sets['node-udp']],
    [
      ['179', '1179'],
      ['3784', '4784'],
    ],
  );
});

test('with blocks, the pools decide what is masqueraded', () => {
  const network = readNetwork({
    Network: '10.0.0.0/8',
    addresses: 'blocks',
    wiring: 'routed',
    Backend: { Type: 'bgp' },
    // It says nothing about pools created later.
    masquerade: { enabled: false },
  });
  const given = facts('Never');
  const [pool] = given.resources?.ipPools ?? [];
  assert.ok(given.resources && pool);
  const open = { ...pool, name: 'open', cidr: parseCidr('192.168.0.0/16'), natOutgoing: false };
  const { sets, rules } = tableOf(
    { ...given, network, resources: { ...given.resources, ipPools: [pool, open] } },
    'masquerade',
  );
  assert.deepEqual(sets.pools, ['10.0.0.0/8', '192.168.0.0/16']);
  assert.deepEqual(sets.hidden, ['10.0.0.0/8']);
  assert.doesNotMatch(rules, /daddr @pools masquerade/);
  const { addresses: _, ...lease } = network;
  const leased = composedState({ ...given, network: { ...lease, addresses: 'lease' } }).items;
  assert.equal(tableIn(leased, 'ip', 'flatnet-masquerade'), undefined, 'leases follow the setting');
});

test('an unknown value of an option is reported', () => {
  const network = { ...facts('Never').network, backend: { type: 'bgp', options: { routes: 'kernel' } } };
  assert.throws(() => configuredBackend(network), /Backend\.routes: must be bird or agent, not 'kernel'/);
});

test('all its documented options are known', () => {
  const network = { Network: '10.244.0.0/16', wiring: 'routed' };
  assert.deepEqual(
    unknownKeys({ ...network, Backend: { Type: 'bgp', ipipMode: 'Never', routes: 'agent' } }),
    [],
  );
});
