import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseIp } from '../../src/ip/address.ts';
import { parseCidr, parsePrefixed } from '../../src/ip/cidr.ts';
import { parseMac } from '../../src/ip/mac.ts';
import type { Item } from '../../src/state/item.ts';
import { changeText, command } from '../../src/state/print.ts';

const mac = parseMac('12:c6:65:89:b4:e3');
const dst = parseCidr('10.244.1.0/24');

const cases: [item: Item, add: string, del: string][] = [
  [
    { kind: 'neighbour', dev: 'flannel.1', ip: parseIp('10.244.1.0'), mac },
    'ip neigh replace 10.244.1.0 lladdr 12:c6:65:89:b4:e3 nud permanent dev flannel.1',
    'ip neigh del 10.244.1.0 dev flannel.1',
  ],
  [
    { kind: 'fdb', dev: 'flannel.1', mac, dst: parseIp('192.168.64.3') },
    'bridge fdb replace 12:c6:65:89:b4:e3 dst 192.168.64.3 self permanent dev flannel.1',
    'bridge fdb del 12:c6:65:89:b4:e3 dst 192.168.64.3 self dev flannel.1',
  ],
  [
    {
      kind: 'route',
      type: 'unicast',
      dst,
      via: parseIp('10.244.1.0'),
      dev: 'flannel.1',
      onlink: true,
      protocol: 110,
    },
    'ip route replace 10.244.1.0/24 via 10.244.1.0 dev flannel.1 onlink',
    'ip route del 10.244.1.0/24 via 10.244.1.0 dev flannel.1 onlink',
  ],
  [
    { kind: 'route', type: 'blackhole', dst, metric: 7, table: 100, protocol: 111 },
    'ip route replace blackhole 10.244.1.0/24 table 100 proto 111 metric 7',
    'ip route del blackhole 10.244.1.0/24 table 100 proto 111 metric 7',
  ],
  [
    { kind: 'address', dev: 'flannel-v6.1', address: parsePrefixed('fc00:0:0:1::/128') },
    'ip address replace fc00:0:0:1::/128 dev flannel-v6.1 nodad',
    'ip address del fc00:0:0:1::/128 dev flannel-v6.1',
  ],
  [
    { kind: 'rule', family: 6, priority: 100, table: 5, mark: 1, mask: 3, protocol: 111 },
    'ip -6 rule add priority 100 from all fwmark 1/3 lookup 5 protocol 111',
    'ip -6 rule del priority 100 from all fwmark 1/3 lookup 5 protocol 111',
  ],
  [
    {
      kind: 'nft-table',
      family: 'ip',
      table: 'flatnet-x',
      chains: [{ name: 'c', rules: [{ rule: 'drop' }] }],
    },
    "nft -f - <<'END'\ntable ip flatnet-x {\n  chain c {\n    drop\n  }\n}\nEND",
    'nft delete table ip flatnet-x',
  ],
  [
    {
      kind: 'nft-element',
      family: 'ip',
      table: 'flatnet-x',
      set: 'm',
      key: '"eth0" . tcp . 80',
      data: 'goto web',
    },
    `nft add element ip flatnet-x m '{ "eth0" . tcp . 80 : goto web }'`,
    `nft delete element ip flatnet-x m '{ "eth0" . tcp . 80 }'`,
  ],
  [
    {
      kind: 'link',
      name: 'veth1',
      link: { type: 'existing' },
      up: true,
      mtu: 1450,
      master: 'cni0',
      port: { hairpin: true, isolated: false },
      entries: 'kernel',
    },
    'ip link set veth1 mtu 1450 master cni0 up && ip link set veth1 type bridge_slave hairpin on isolated off',
    'ip link del veth1',
  ],
];

test('every item prints as the command a person would type', () => {
  for (const [item, add, del] of cases) {
    assert.equal(command(item, 'add'), add);
    assert.equal(command(item, 'delete'), del);
  }
});

test('a vxlan device prints all its properties', () => {
  const link: Item = {
    kind: 'link',
    name: 'flannel.1',
    link: {
      type: 'vxlan',
      vni: 1,
      port: 8472,
      local: parseIp('192.168.64.2'),
      dev: 'eth0',
      learning: false,
      gbp: true,
      udpChecksum: false,
      onDemand: true,
    },
    up: true,
    mtu: 1450,
    mac,
    entries: 'ours',
  };
  assert.equal(
    command(link, 'add'),
    'ip link add flannel.1 mtu 1450 address 12:c6:65:89:b4:e3 type vxlan id 1 local 192.168.64.2 dev eth0 ' +
      'dstport 8472 nolearning noudpcsum gbp proxy l2miss l3miss && ip link set flannel.1 up',
  );
});

test('a change prints as one line', () => {
  const [neighbour, , , , , , nft] = cases.map(([item]) => item);
  assert.ok(neighbour && nft);
  assert.equal(changeText({ action: 'delete', item: neighbour }), '- ip neigh del 10.244.1.0 dev flannel.1');
  assert.equal(
    changeText({ action: 'add', item: nft }),
    '+ nft -f … # table ip flatnet-x: 0 sets, 1 chains, 1 rules',
  );
});
