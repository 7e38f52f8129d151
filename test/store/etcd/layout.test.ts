import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseCidr } from '../../../src/ip/cidr.ts';
import { BlockKeys } from '../../../src/store/etcd/block-keys.ts';
import { Layout } from '../../../src/store/etcd/layout.ts';

test('the watched ranges cover each node key once, and no keys that change with every pod', () => {
  const layout = new Layout('/net');
  const ipam = new BlockKeys('/net');
  const cidr = parseCidr('10.0.0.0/26');
  const partsWith = (key: string): number =>
    layout.watched.filter(({ from, to }) => key >= from && key < to).length;
  const watched = [
    layout.config,
    layout.challenge('n'),
    ipam.affinity('n', cidr),
    ipam.affinity('zz', cidr),
    layout.node('a'),
    layout.pools,
    layout.resource('IPPool', 'p'),
    layout.family(cidr),
    layout.lease([cidr]),
  ];
  for (const key of watched) assert.equal(partsWith(key), 1, key);
  const others = [
    ipam.block(cidr),
    ipam.handle('a'),
    ipam.handle('~'),
    '/net',
    '/net0',
    '/nets/config',
    '/ne',
  ];
  for (const key of others) assert.equal(partsWith(key), 0, key);
});
