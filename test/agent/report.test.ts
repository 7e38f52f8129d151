import assert from 'node:assert/strict';
import { test } from 'node:test';
import { failures } from '../../src/agent/report.ts';
import { parsePrefixed } from '../../src/ip/cidr.ts';
import type { Item } from '../../src/state/item.ts';

const tunnel: Item = { kind: 'link', name: 'tunl0', link: { type: 'ipip' }, up: true, entries: 'kernel' };
const change = (item: Item) => ({ action: 'add', item }) as const;

test('a device that cannot be created is reported once, without the changes that depend on it', () => {
  const address = { kind: 'address', dev: 'tunl0', address: parsePrefixed('10.0.0.1/32') } as const;
  const sysctl: Item = { kind: 'sysctl', path: 'net/ipv4/conf/tunl0/rp_filter', value: '0' };
  const other = { ...address, dev: 'eth9' };
  const owner = { part: 'backend', name: 'this node' } as const;
  const absent = (item: Item, dev: string) => ({
    change: change(item),
    owner,
    reason: `device ${dev} is absent`,
  });
  const undone = [
    { change: change(tunnel), owner, reason: 'no ipip devices', error: new Error('no ipip devices') },
    absent(address, 'tunl0'),
    absent(sysctl, 'tunl0'),
    absent(other, 'eth9'),
    absent({ ...other, address: parsePrefixed('10.0.0.2/32') }, 'eth9'),
  ];
  assert.deepEqual(failures(undone), ['no ipip devices', 'device eth9 is absent']);
});
