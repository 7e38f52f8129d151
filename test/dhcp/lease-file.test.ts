import assert from 'node:assert/strict';
import { test } from 'node:test';
import { now } from '../../src/dhcp/clock.ts';
import { decodeLeaseRecord } from '../../src/dhcp/lease-file.ts';

function decoded(renewAt: number, endsAt: number) {
  const lease = { address: '192.0.2.7/24', server: '192.0.2.1', renewAt, rebindAt: renewAt, endsAt };
  const place = { netns: '/run/netns/x', netnsId: 1, bootId: 'b', ifName: 'eth0', mac: '02:00:00:00:00:01' };
  return decodeLeaseRecord(JSON.stringify({ id: 'cbr0:a:eth0:interface', ...place, lease })).lease;
}

test('times count from boot, and those of an earlier version are converted', () => {
  assert.deepEqual([decoded(5000, 9000).renewAt, decoded(5000, 9000).endsAt], [5000, 9000]);
  const before = now();
  const { renewAt, endsAt } = decoded(Date.now() + 60_000, 1_000_000_000_001);
  assert.ok(renewAt >= before + 59_000 && renewAt <= now() + 61_000, `${renewAt}`);
  assert.equal(endsAt, 0);
});
