import assert from 'node:assert/strict';
import { test } from 'node:test';
import { lostAddresses, withoutGaps } from '../../../src/agent/underlay/choice.ts';
import type { Underlay } from '../../../src/cluster/node.ts';
import { parseIp } from '../../../src/ip/address.ts';
import { parseCidr } from '../../../src/ip/cidr.ts';

const BOTH: Underlay = {
  dev: 'eth0',
  mtu: 1500,
  addresses: { 4: parseIp('192.0.2.1'), 6: parseIp('2001:db8::1') },
  onLink: [parseCidr('192.0.2.0/24'), parseCidr('2001:db8::/64')],
};
const ONLY6: Underlay = {
  ...BOTH,
  addresses: { 6: parseIp('2001:db8::1') },
  onLink: [parseCidr('2001:db8::/64')],
};

test('a family that briefly loses its address keeps it', () => {
  assert.deepEqual(withoutGaps(ONLY6, BOTH), BOTH);
  assert.deepEqual(withoutGaps({ ...ONLY6, mtu: 1400 }, BOTH), { ...BOTH, mtu: 1400 });
});

test('a new address, a new interface and the first scan take effect as read', () => {
  const moved: Underlay = { ...BOTH, addresses: { ...BOTH.addresses, 4: parseIp('192.0.2.7') } };
  assert.equal(withoutGaps(moved, BOTH), moved);
  assert.equal(withoutGaps(ONLY6, undefined), ONLY6);
  const other: Underlay = { ...ONLY6, dev: 'eth1' };
  assert.equal(withoutGaps(other, BOTH), other);
});

test('while it keeps an address that is gone, that is a problem with its fix', () => {
  const { addresses: _, ...rest } = BOTH;
  const only4: Underlay = { ...rest, addresses: { 4: parseIp('192.0.2.1') } };
  assert.deepEqual(lostAddresses(BOTH, withoutGaps(BOTH, BOTH), false), []);
  const [off] = lostAddresses(only4, withoutGaps(only4, BOTH), true);
  assert.deepEqual([off?.severity, off?.cause], ['error', 'net.ipv6.conf.all.disable_ipv6 is 1']);
  assert.match(off?.what ?? '', /eth0 has lost its address 2001:db8::1/);
  assert.match(off?.fix ?? '', /^sysctl -w net.ipv6.conf.all.disable_ipv6=0, then give eth0 its address/);
  const [gone] = lostAddresses(ONLY6, withoutGaps(ONLY6, BOTH), true);
  assert.equal(gone?.cause, undefined);
});
