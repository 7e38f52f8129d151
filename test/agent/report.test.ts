import assert from 'node:assert/strict';
import { test } from 'node:test';
import { failures } from '../../src/agent/report.ts';
import { parsePrefixed } from '../../src/ip/cidr.ts';
import type { Item } from '../../src/state/item.ts';

const tunnel: Item = { kind: 'link', name: 'tunl0', link: { type: 'ipip' }, up: true, entries: 'kernel' };
const change = (item: Item) => ({ action: 'add', item }) as const;

test('a device that cannot be made is told once, whatever waits for it', () => {
  const address = { kind: 'address', dev: 'tunl0', address: parsePrefixed('10.0.0.1/32') } as const;
  const sysctl: Item = { kind: 'sysctl', path: 'net/ipv4/conf/tunl0/rp_filter', value: '0' };
  const other = { ...address, dev: 'eth9' };
  const waiting = [
    { change: change(address), reason: 'device tunl0 is absent' },
    { change: change(sysctl), reason: 'device tunl0 is absent' },
    { change: change(other), reason: 'device eth9 is absent' },
    { change: change({ ...other, address: parsePrefixed('10.0.0.2/32') }), reason: 'device eth9 is absent' },
  ];
  const failed = [{ change: change(tunnel), error: new Error('no ipip devices') }];
  assert.deepEqual(failures({ failed, waiting }), ['no ipip devices', 'device eth9 is absent']);
});
