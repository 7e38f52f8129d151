import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { LocalPod, Self } from '../../src/cluster/node.ts';
import type { Physical } from '../../src/cluster/physical.ts';
import { parseIp } from '../../src/ip/address.ts';
import { parseMac } from '../../src/ip/mac.ts';
import { command } from '../../src/state/print.ts';
import { podItems, wiringItems } from '../../src/wiring/registry.ts';
import type { WiringFacts } from '../../src/wiring/wiring.ts';

const SELF: Self = {
  node: { name: 'a', labels: {}, addresses: {}, subnets: [], backend: { type: 'alloc', data: {} } },
  underlay: {
    dev: 'eth0',
    mtu: 1500,
    addresses: { 4: parseIp('192.168.0.10'), 6: parseIp('fd00:1::10') },
    onLink: [],
  },
  tunnelMacs: { 4: parseMac('02:00:00:00:00:04'), 6: parseMac('02:00:00:00:00:06') },
};
const PARENT = { dev: 'eth0', mtu: 1500, mac: parseMac('02:00:00:00:00:01') };

function facts(config: Partial<Physical>): WiringFacts {
  const physical = { wiring: 'macvlan', mode: 'bridge', gateways: {}, ...config } as const;
  return { self: SELF, families: [4, 6], mtu: 1500, physical: { config: physical, parent: PARENT } };
}

const POD: LocalPod = {
  containerId: 'c1',
  ifName: 'eth0',
  netns: '/n',
  labels: {},
  addresses: [parseIp('192.168.128.2'), parseIp('fd00:1::2:0:0:2')],
  mac: parseMac('02:00:00:00:00:99'),
  wiring: 'macvlan',
};

const commands = (items: ReturnType<typeof podItems>): string[] => items.map((item) => command(item, 'add'));

test('macvlan: the node’s shim, and the way to a pod', () => {
  const node = commands(wiringItems('macvlan', [], facts({})));
  assert.match(
    node[0] ?? '',
    /^ip link add flannel-macvlan link eth0 mtu 1500 address \S+ type macvlan mode bridge && ip link set flannel-macvlan alias 'flatnet shim' && ip link set flannel-macvlan up$/,
  );
  assert.ok(node.includes('sysctl -w net/ipv4/conf/flannel-macvlan/arp_ignore=8'));
  assert.ok(!node.some((text) => /blackhole|ip_forward/.test(text)));
  assert.deepEqual(commands(podItems(POD, facts({}))), [
    'ip neigh replace 192.168.128.2 lladdr 02:00:00:00:00:99 nud permanent dev flannel-macvlan',
    'ip neigh replace fd00:1::2:0:0:2 lladdr 02:00:00:00:00:99 nud permanent dev flannel-macvlan',
    'ip route replace 192.168.128.2/32 dev flannel-macvlan proto 111 src 192.168.0.10',
    'ip route replace fd00:1::2:0:0:2/128 dev flannel-macvlan proto 111 src fd00:1::10 metric 1',
  ]);
});

test('ipvlan: pods are at the parent’s MAC, and have none to be found at where the node routes', () => {
  const pod = { ...POD, wiring: 'ipvlan' } as const;
  const node = commands(wiringItems('ipvlan', [], facts({ wiring: 'ipvlan', mode: 'l2' })));
  assert.match(node[0] ?? '', /^ip link add flannel-ipvlan link eth0 mtu 1500 type ipvlan mode l2 /);
  // Pods' packets for the node arrive on the parent, and the answers leave by the shim.
  assert.ok(node.includes('sysctl -w net/ipv4/conf/eth0/rp_filter=2'));
  const [first] = commands(podItems(pod, facts({ wiring: 'ipvlan', mode: 'l2' })));
  assert.equal(
    first,
    'ip neigh replace 192.168.128.2 lladdr 02:00:00:00:00:01 nud permanent dev flannel-ipvlan',
  );
  const l3 = commands(podItems(pod, facts({ wiring: 'ipvlan', mode: 'l3' })));
  assert.ok(l3.length === 2 && l3.every((text) => text.includes('route replace')));
});

test('in modes without contact to others on the parent, the node has no shim', () => {
  for (const mode of ['private', 'passthru'] as const) {
    assert.deepEqual(wiringItems('macvlan', [POD], facts({ mode })), []);
    assert.deepEqual(podItems(POD, facts({ mode })), []);
  }
});

test('pods of a former wiring need nothing that nobody can make any more', () => {
  const { physical: _, ...former } = facts({});
  assert.deepEqual(podItems(POD, former), []);
});
