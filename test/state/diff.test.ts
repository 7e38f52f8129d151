import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseIp } from '../../src/ip/address.ts';
import { parseCidr, parsePrefixed } from '../../src/ip/cidr.ts';
import { parseMac } from '../../src/ip/mac.ts';
import { diff } from '../../src/state/diff.ts';
import type { Item } from '../../src/state/item.ts';
import { keyOf, same, satisfies } from '../../src/state/item.ts';
import type { LinkItem } from '../../src/state/kinds/link/item.ts';
import type { RouteItem } from '../../src/state/kinds/route.ts';
import { blockedBy } from '../../src/state/order.ts';
import { byKey } from './compose.ts';

const route: RouteItem = {
  kind: 'route',
  type: 'unicast',
  dst: parseCidr('10.244.1.0/24'),
  via: parseIp('192.168.0.2'),
  dev: 'eth0',
  protocol: 110,
};
const device: LinkItem = {
  kind: 'link',
  name: 'flannel.1',
  link: {
    type: 'vxlan',
    vni: 1,
    port: 8472,
    local: parseIp('192.168.0.1'),
    dev: 'eth0',
    learning: false,
    gbp: false,
    udpChecksum: false,
    onDemand: false,
  },
  up: true,
  mtu: 1450,
  alias: 'flatnet vxlan',
  entries: 'ours',
};

const actions = (actual: Item[], desired: Item[], prune = true): string[] =>
  diff(byKey(actual), byKey(desired), { prune }).map(({ action, item }) => `${action} ${keyOf(item)}`);

test('keys and equality include the kernel’s defaults', () => {
  assert.equal(keyOf(route), 'route 254 10.244.1.0/24 0');
  assert.equal(keyOf({ ...route, dst: parseCidr('fd00::/64') }), 'route 254 fd00::/64 1024');
  assert.ok(same(route, { ...route, table: 254, metric: 0, onlink: false }));
  assert.ok(!same(route, { ...route, onlink: true }));
  assert.ok(!same(route, { ...route, table: 255 }));
});

test('a route of another protocol is taken over in our slot and left alone elsewhere', () => {
  assert.deepEqual(actions([{ ...route, protocol: 3 }], [route]), [`change ${keyOf(route)}`]);
  assert.deepEqual(actions([{ ...route, protocol: 3 }], []), []);
  assert.deepEqual(actions([{ ...route, protocol: 111 }], []), [`delete ${keyOf(route)}`]);
});

test('links are ours by alias, entries by device', () => {
  const { alias: _alias, ...flannels } = device;
  assert.deepEqual(actions([flannels], []), []);
  assert.deepEqual(actions([flannels], [device]), ['change link flannel.1']);
  assert.deepEqual(actions([device], []), ['delete link flannel.1']);
  const neighbour: Item = {
    kind: 'neighbour',
    dev: 'flannel.1',
    ip: parseIp('10.244.9.0'),
    mac: parseMac('02:00:00:00:00:01'),
  };
  assert.deepEqual(actions([device, neighbour], [device]), ['delete neighbour flannel.1 10.244.9.0']);
  assert.deepEqual(actions([device, neighbour], [{ ...device, entries: 'kernel' }]), []);
});

test("link-local addresses are the kernel's own, others on our links are ours", () => {
  const address = (text: string): Item => ({
    kind: 'address',
    dev: 'flannel.1',
    address: parsePrefixed(text),
  });
  const all = [device, address('fe80::1/64'), address('10.244.7.0/32')];
  assert.deepEqual(actions(all, [device]), ['delete address flannel.1 10.244.7.0/32']);
  assert.deepEqual(actions([address('10.0.0.1/8')], []), []);
});

test('properties the kernel can change are changed in place, others require a new device', () => {
  const was = (link: Partial<LinkItem['link']>): Item => ({
    ...device,
    link: { ...device.link, ...link } as LinkItem['link'],
  });
  assert.deepEqual(actions([{ ...device, mtu: 1400 }], [device]), ['change link flannel.1']);
  for (const link of [{ local: parseIp('192.168.0.9') }, { dev: 'eth1' }, { learning: true }]) {
    assert.deepEqual(actions([was(link)], [device]), ['change link flannel.1'], JSON.stringify(link));
  }
  for (const link of [{ vni: 2 }, { port: 1 }, { gbp: true }, { udpChecksum: true }]) {
    assert.deepEqual(actions([was(link)], [device]), ['recreate link flannel.1'], JSON.stringify(link));
  }
});

test('outer checksums that nobody asks for are no reason for a new device', () => {
  assert.ok(device.link.type === 'vxlan');
  const { udpChecksum: _, ...link } = device.link;
  const present: Item = { ...device, link: { ...device.link, udpChecksum: true } };
  assert.deepEqual(actions([present], [{ ...device, link }]), []);
  const bridge: Item = { kind: 'link', name: 'cni0', link: { type: 'bridge' }, up: true, entries: 'kernel' };
  const tree: Item = { ...bridge, link: { type: 'bridge', stp: true } };
  assert.deepEqual(actions([tree], [bridge]), ['change link cni0'], 'but a bridge has its defaults');
});

test('a sysctl with `when` changes only that value', () => {
  const sysctl = (value: string, when?: string): Item => ({
    kind: 'sysctl',
    path: 'net/ipv6/conf/eth0/accept_ra',
    value,
    ...(when !== undefined && { when }),
  });
  assert.ok(satisfies(sysctl('0'), sysctl('2', '1')));
  assert.ok(satisfies(sysctl('2'), sysctl('2', '1')));
  assert.ok(!satisfies(sysctl('1'), sysctl('2', '1')));
});

test('a change that is not yet possible waits, with a reason', () => {
  const links = new Map([['eth0', { up: false, link: { type: 'existing' } }]]);
  assert.equal(blockedBy({ action: 'add', item: route }, links), 'device eth0 is down');
  assert.equal(blockedBy({ action: 'add', item: route }, new Map()), 'device eth0 is absent');
  assert.equal(blockedBy({ action: 'add', item: device }, new Map()), 'device eth0 is absent');
  assert.equal(blockedBy({ action: 'add', item: device }, links), undefined);
  const taken = new Map([...links, ['flannel.1', { up: true, link: { type: 'existing' } }]]);
  assert.match(
    blockedBy({ action: 'recreate', item: device }, taken) ?? '',
    /another kind has the name flannel\.1/,
  );
});
