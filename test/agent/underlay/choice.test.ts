import assert from 'node:assert/strict';
import { test } from 'node:test';
import { chooseUnderlay, type Interfaces } from '../../../src/agent/underlay/choice.ts';
import { parsePrefixed } from '../../../src/ip/cidr.ts';

const eth0 = { name: 'eth0', mtu: 1500, addresses: ['172.30.0.11/24', 'fd77::11/64'].map(parsePrefixed) };
const eth1 = { name: 'eth1', mtu: 9000, addresses: ['10.9.0.1/16'].map(parsePrefixed) };
const bare = { name: 'eth2', mtu: 1500, addresses: [] };

function interfaces(over: Partial<Interfaces>): Interfaces {
  return { all: [bare, eth1, eth0], byDefault: {}, ...over };
}

test('by default the interface of the default route is chosen, IPv4 first', () => {
  assert.deepEqual(chooseUnderlay(interfaces({ byDefault: { 4: 'eth0', 6: 'eth1' } }), {}), {
    dev: 'eth0',
    mtu: 1500,
    addresses: { 4: '172.30.0.11', 6: 'fd77::11' },
    onLink: ['172.30.0.0/24', 'fd77::/64'],
  });
  assert.equal(chooseUnderlay(interfaces({ byDefault: { 6: 'eth1' } }), {}).dev, 'eth1');
});

test('a configured interface, by name or address, takes precedence over the default route', () => {
  const byDefault = { 4: 'eth0' };
  assert.equal(chooseUnderlay(interfaces({ byDefault }), { iface: 'eth1' }).dev, 'eth1');
  assert.equal(chooseUnderlay(interfaces({ byDefault }), { iface: '10.9.0.1' }).dev, 'eth1');
  assert.equal(chooseUnderlay(interfaces({}), { iface: 'fd77::11' }).dev, 'eth0');
});

test('a configured interface that does not exist is refused, and the error lists those that do', () => {
  for (const iface of ['eth9', 'eth2', '192.0.2.1']) {
    assert.throws(() => chooseUnderlay(interfaces({ byDefault: { 4: 'eth0' } }), { iface }), {
      code: 'CONFIG_INVALID',
      object: 'iface',
      fix: 'choose one of eth1, eth0',
    });
  }
});

test('without a default route the only interface with an address is chosen, but never one of several', () => {
  assert.equal(chooseUnderlay({ all: [bare, eth1], byDefault: {} }, {}).dev, 'eth1');
  assert.throws(() => chooseUnderlay(interfaces({}), {}), {
    code: 'NOT_FOUND',
    message: /no default route.*set iface to one of eth1, eth0/,
  });
  assert.throws(() => chooseUnderlay({ all: [bare], byDefault: {} }, {}), {
    code: 'NOT_FOUND',
    message: /no interface has an address/,
  });
});
