import assert from 'node:assert/strict';
import { test } from 'node:test';
import { networkToNetConf, readNetwork } from '../../src/cluster/network.ts';
import type { Underlay } from '../../src/cluster/node.ts';
import { overlapWithHost } from '../../src/cluster/overlap.ts';
import { chooseParent } from '../../src/cluster/parent.ts';
import type { Physical } from '../../src/cluster/physical.ts';
import { NO_RESOURCES } from '../../src/cluster/resources.ts';
import { parseIp } from '../../src/ip/address.ts';
import { parseCidr } from '../../src/ip/cidr.ts';
import { parseMac } from '../../src/ip/mac.ts';

const V4 = { Network: '192.168.0.0/16', SubnetMin: '192.168.128.0', wiring: 'macvlan' };
const V6 = { EnableIPv6: true, IPv6Network: 'fd00:1::/64', IPv6SubnetLen: 80 };

test('pods on a physical network, read and written', () => {
  const network = readNetwork({
    ...V4,
    ...V6,
    macvlan: { parent: 'eth1', mode: 'VEPA', gateway: '192.168.0.1', ipv6Gateway: 'fe80::1' },
  });
  assert.deepEqual(network.physical, {
    wiring: 'macvlan',
    parent: 'eth1',
    mode: 'vepa',
    gateways: { 4: '192.168.0.1', 6: 'fe80::1' },
  });
  assert.equal(network.backend.type, 'alloc');
  assert.equal(network.guard, false);
  assert.equal(network.masquerade.enabled, false);
  assert.deepEqual(readNetwork(JSON.parse(networkToNetConf(network))), network);
});

test('little need be written', () => {
  assert.deepEqual(readNetwork({ ...V4, wiring: 'ipvlan', addresses: 'dhcp' }).physical, {
    wiring: 'ipvlan',
    mode: 'l2',
    gateways: {},
  });
  assert.equal(readNetwork({ Network: '192.168.0.0/16' }).physical, undefined);
});

const REFUSED: readonly (readonly [what: string, conf: object, field: string, why: RegExp])[] = [
  ['a backend', { Backend: { Type: 'vxlan' } }, 'Backend.Type', /must be alloc where wiring is macvlan/],
  ['blocks', { addresses: 'blocks' }, 'wiring', /must be routed where addresses is blocks/],
  ['DHCP on a bridge', { wiring: 'bridge', addresses: 'dhcp' }, 'wiring', /must be macvlan or ipvlan/],
  [
    'a mode',
    { macvlan: { mode: 'l2' } },
    'macvlan.mode',
    /must be bridge, private, vepa, passthru, not 'l2'/,
  ],
  ['a parent', { macvlan: { parent: 'eth 0' } }, 'macvlan.parent', /no name of an interface/],
  ['another gateway', { macvlan: { gateway: '10.0.0.1' } }, 'macvlan.gateway', /outside the network/],
  [
    'a pod’s gateway',
    { macvlan: { gateway: '192.168.200.1' } },
    'macvlan.gateway',
    /set SubnetMin or SubnetMax/,
  ],
  [
    'a gateway that nobody asks',
    { wiring: 'ipvlan', ipvlan: { mode: 'l3', gateway: '192.168.0.1' } },
    'ipvlan.gateway',
    /the node routes/,
  ],
  [
    'DHCP without broadcasts',
    { wiring: 'ipvlan', addresses: 'dhcp', ipvlan: { mode: 'l3s' } },
    'ipvlan.mode',
    /must be l2 where addresses is dhcp/,
  ],
  ['DHCP for IPv6', { ...V6, addresses: 'dhcp' }, 'EnableIPv6', /must be false where addresses is dhcp/],
  ['the other’s object', { ipvlan: {} }, 'ipvlan', /must be absent where wiring is macvlan/],
  [
    'an object of no use',
    { wiring: 'bridge', macvlan: {} },
    'macvlan',
    /must be absent where wiring is bridge/,
  ],
  ['a guard', { guard: true }, 'guard', /must be false or absent with this wiring/],
  ['masquerading', { masquerade: { enabled: true } }, 'masquerade.enabled', /do not pass the node/],
];

for (const [what, conf, object, message] of REFUSED) {
  test(`refused on a physical network: ${what}`, () => {
    assert.throws(() => readNetwork({ ...V4, ...conf }), { code: 'CONFIG_INVALID', object, message });
  });
}

const UNDERLAY: Underlay = { dev: 'eth0', mtu: 1500, addresses: { 4: parseIp('192.168.0.10') }, onLink: [] };
const PHYSICAL: Physical = { wiring: 'macvlan', mode: 'bridge', gateways: {} };
const mac = parseMac('02:00:00:00:00:01');
const INTERFACES = [
  { name: 'eth0', mtu: 1500, mac },
  { name: 'eth1', mtu: 9000, mac, master: 'br0' },
  { name: 'wg0', mtu: 1420 },
];

test('the parent is the underlay, or what is configured', () => {
  const host = { interfaces: INTERFACES };
  assert.deepEqual(chooseParent(PHYSICAL, UNDERLAY, host), { dev: 'eth0', mtu: 1500, mac });
  const choose = (change: Partial<Physical>) => () =>
    chooseParent({ ...PHYSICAL, ...change }, UNDERLAY, host);
  const invalid = (message: RegExp) => ({ code: 'CONFIG_INVALID', object: 'macvlan.parent', message });
  assert.throws(choose({ parent: 'eth9' }), invalid(/no interface eth9; choose one of eth0, eth1, wg0/));
  assert.throws(choose({ parent: 'eth1' }), invalid(/eth1 is a port of br0.*; try br0/));
  assert.throws(choose({ parent: 'wg0' }), invalid(/wg0 is not an Ethernet interface/));
  assert.throws(choose({ mode: 'passthru' }), invalid(/would take eth0 from the node/));
});

test('another program’s ipvlan device keeps its mode', () => {
  const other = { name: 'ipvl0', mtu: 1500, mac, ipvlan: { parent: 'eth0', mode: 'l3' } };
  const host = { interfaces: [...INTERFACES, other] };
  const choose = (config: Physical) => () => chooseParent(config, UNDERLAY, host);
  assert.throws(choose({ wiring: 'ipvlan', mode: 'l2', gateways: {} }), {
    code: 'CONFIG_INVALID',
    message: /ipvl0 has mode l3 on eth0, and would get l2; remove it, set ipvlan\.mode to l3/,
  });
  for (const config of [PHYSICAL, { wiring: 'ipvlan', mode: 'l3', gateways: {} } as const])
    assert.equal(choose(config)().dev, 'eth0');
});

test('a node’s subnet must hold nobody else’s address', () => {
  const network = readNetwork(V4);
  const facts = {
    host: {
      addresses: [parseIp('192.168.0.10')],
      networks: [{ cidr: parseCidr('192.168.0.0/16'), use: 'the network of eth0', isConnected: true }],
      gateways: [parseIp('192.168.0.1')],
    },
    network,
    resources: NO_RESOURCES,
    nodes: [],
  };
  const overlapOf = (subnet: string) => overlapWithHost({ ...facts, subnets: [parseCidr(subnet)] });
  assert.equal(overlapOf('192.168.130.0/24'), undefined);
  assert.equal(overlapOf('192.168.0.0/28')?.use, 'an address of this host');
  assert.equal(overlapOf('192.168.0.0/29')?.use, 'a gateway');
});
