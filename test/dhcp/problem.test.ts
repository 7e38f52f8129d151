import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decodeLeaseRecord } from '../../src/dhcp/lease-file.ts';
import { problemOf } from '../../src/dhcp/problem.ts';

/** The cause of what is wrong 7 s after boot, when the lease should have been renewed for 2 s. */
function cause(server: string, rest: object = {}): string | undefined {
  const lease = { address: '192.0.2.7/24', server, renewAt: 0, rebindAt: 5000, endsAt: 9000 };
  const place = { netns: '/run/netns/x', netnsId: 1, bootId: 'b', ifName: 'eth0', mac: '02:00:00:00:00:01' };
  return problemOf(decodeLeaseRecord(JSON.stringify({ id: 'a', ...place, lease, ...rest })), 7000)?.cause;
}

test('the cause names the server if one is known, and who uses a lost address', () => {
  const holder = '02:00:00:00:00:09';
  assert.equal(cause('192.0.2.1'), 'the DHCP server 192.0.2.1 does not answer');
  assert.equal(cause('0.0.0.0'), 'the DHCP server does not answer');
  assert.equal(cause('0.0.0.0', { lost: [] }), 'the DHCP server has not extended its lease');
  assert.equal(
    cause('192.0.2.1', { lost: [], holder }),
    '02:00:00:00:00:09 used it when the DHCP server 192.0.2.1 last gave it back',
  );
});
