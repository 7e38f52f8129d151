import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { parseIp } from '../../../src/ip/address.ts';
import { parseCidr } from '../../../src/ip/cidr.ts';
import { newBlock, take } from '../../../src/ipam/blocks/block.ts';
import { counts, type Finding, findings, type Known } from '../../../src/ipam/blocks/check.ts';
import { borrowedUsage, usage } from '../../../src/ipam/blocks/usage.ts';
import { encodeBlock, encodeHandle } from '../../../src/store/etcd/block-codec.ts';
import { snapshotOf } from '../../../src/store/etcd/block-items.ts';
import { BlockKeys } from '../../../src/store/etcd/block-keys.ts';
import type { KeyValue } from '../../../src/store/kv/kv.ts';
import type { Block, Handle } from '../../../src/store/ports/blocks.ts';
import { pool } from './plan.ts';

const keys = new BlockKeys('/x/');
const CIDR = parseCidr('10.0.0.0/30');

/** A consistent plan: node1 has a block with two addresses, one of them lent to node2. */
function right(): Map<string, string> {
  let block = newBlock(CIDR, 'node1', 1);
  block = take(block, 0, { handle: 'a', node: 'node1' }, 1);
  block = take(block, 2, { handle: 'b', node: 'node2', pod: 'web', namespace: 'shop' }, 1);
  return new Map([
    [keys.block(CIDR), encodeBlock(block)],
    [keys.affinity('node1', CIDR), 'confirmed'],
    [keys.handle('a'), handle('10.0.0.0')],
    [keys.handle('b'), handle('10.0.0.2')],
  ]);
}

function handle(...ips: string[]): string {
  const addresses: Handle['addresses'] = ips.map((ip) => ({ ip: parseIp(ip), block: CIDR }));
  return encodeHandle({ addresses });
}

function items(store: ReadonlyMap<string, string>): KeyValue[] {
  return [...store].map(([key, value], i) => ({
    key,
    value,
    createRevision: i + 2,
    modRevision: i + 2,
    version: 1,
    lease: '0',
  }));
}

function check(store: ReadonlyMap<string, string>, known: Known = {}): Finding[] {
  return findings(snapshotOf(items(store), keys), known);
}

function edited(change: (store: Map<string, string>) => void): ReadonlyMap<string, string> {
  const store = right();
  change(store);
  return store;
}

function blockIn(store: ReadonlyMap<string, string>): Record<string, unknown> {
  return JSON.parse(store.get(keys.block(CIDR)) ?? '{}');
}

test('a consistent plan has no findings', () => {
  assert.deepEqual(
    check(right(), { pools: [pool('p', '10.0.0.0/8', 30)], nodes: new Set(['node1', 'node2']) }),
    [],
  );
  assert.deepEqual(counts(snapshotOf(items(right()), keys)), {
    blocks: 1,
    addresses: 2,
    borrowed: 1,
    handles: 2,
    nodes: 1,
  });
});

const inner = parseCidr('10.0.0.2/31');
const innerBlock: Block = take(newBlock(inner, 'node2', 1), 0, { handle: 'b', node: 'node2' }, 1);
const DAMAGE: [string, Finding['code'][], (store: Map<string, string>) => void, Known?][] = [
  ['a block without its affinity', ['BLOCK_WITHOUT_OWNER'], (s) => s.delete(keys.affinity('node1', CIDR))],
  [
    'two affinities',
    ['SEVERAL_OWNERS', 'AFFINITY_STALE'],
    (s) => s.set(keys.affinity('node2', CIDR), 'confirmed'),
  ],
  [
    'the affinity is another node’s',
    ['BLOCK_WITHOUT_OWNER', 'AFFINITY_STALE'],
    (s) => s.delete(keys.affinity('node1', CIDR)) && s.set(keys.affinity('node2', CIDR), 'confirmed'),
  ],
  [
    'an affinity without a block',
    ['AFFINITY_WITHOUT_BLOCK'],
    (s) => s.set(keys.affinity('node1', inner), 'confirmed'),
  ],
  ['an interrupted claim', ['CLAIM_PENDING'], (s) => s.set(keys.affinity('node2', inner), 'pending')],
  [
    'the handle of a borrowed address is missing',
    ['ALLOCATION_WITHOUT_HANDLE'],
    (s) => s.delete(keys.handle('b')),
  ],
  ['nothing for an own address without a handle', [], (s) => s.delete(keys.handle('a'))],
  ['a superfluous handle', ['HANDLE_WITHOUT_ALLOCATION'], (s) => s.set(keys.handle('c'), handle('10.0.0.1'))],
  ['an empty handle', ['HANDLE_WITHOUT_ALLOCATION'], (s) => s.set(keys.handle('c'), handle())],
  [
    'two handles, one address',
    ['HANDLE_WITHOUT_ALLOCATION'],
    (s) => s.set(keys.handle('c'), handle('10.0.0.0')),
  ],
  [
    'overlapping blocks',
    ['BLOCKS_OVERLAP', 'ADDRESS_TWICE'],
    (s) => {
      s.set(keys.block(inner), encodeBlock(innerBlock)).set(keys.affinity('node2', inner), 'confirmed');
      s.set(
        keys.handle('b'),
        encodeHandle({ addresses: [CIDR, inner].map((block) => ({ ip: parseIp('10.0.0.2'), block })) }),
      );
    },
  ],
  [
    'a block under a wrong key',
    ['UNREADABLE'],
    (s) => s.set(keys.block(inner), encodeBlock(newBlock(parseCidr('10.0.1.0/31'), 'node1', 1))),
  ],
  [
    'an address both free and in use',
    ['BLOCK_INCONSISTENT'],
    (s) => s.set(keys.block(CIDR), JSON.stringify({ ...blockIn(s), released: [[0, 1]] })),
  ],
  [
    'a sequence number that would be reused',
    ['BLOCK_INCONSISTENT'],
    (s) => s.set(keys.block(CIDR), JSON.stringify({ ...blockIn(s), sequence: 1000 })),
  ],
  [
    'rubbish',
    ['UNREADABLE', 'UNREADABLE', 'UNREADABLE'],
    (s) => {
      s.set(`${keys.root}blocks/x`, '').set(keys.handle('y'), '{').set(keys.affinity('z', CIDR), 'maybe');
    },
  ],
  ['no pool', ['BLOCK_OUTSIDE_POOLS'], () => {}, { pools: [pool('p', '10.0.0.0/31', 31)] }],
  ['an unknown node', ['NODE_UNKNOWN'], () => {}, { nodes: new Set(['node1']) }],
];

for (const [name, codes, damage, known] of DAMAGE) {
  test(`found: ${name}`, () => {
    assert.deepEqual(
      check(edited(damage), known)
        .map(({ code }) => code)
        .sort(),
      codes.toSorted(),
    );
  });
}

test('any lost or damaged key is noticed', () => {
  const all = [...right().keys()];
  for (const key of all) {
    const isNeeded = key !== keys.handle('a');
    assert.equal(check(edited((store) => store.delete(key))).length > 0, isNeeded, key);
    assert.notDeepEqual(check(edited((store) => store.set(key, 'x'))), [], key);
  }
});

test('kindOf recognises exactly the keys that the other methods produce', () => {
  const id = fc.string({ minLength: 1, unit: 'grapheme' });
  fc.assert(
    fc.property(id, (text) => assert.deepEqual(keys.kindOf(keys.handle(text)), { kind: 'handle', id: text })),
  );
  const six = parseCidr('fd00::40/122');
  assert.equal(keys.block(six), '/x/flatnet/ipam/blocks/fd00::40-122');
  assert.deepEqual(keys.kindOf(keys.block(six)), { kind: 'block', cidr: six });
  assert.deepEqual(keys.kindOf(keys.affinity('n', six)), { kind: 'affinity', node: 'n', cidr: six });
  assert.deepEqual(keys.kindOf(keys.config), { kind: 'config' });
  for (const rest of [
    '',
    'blocks/',
    'blocks/10.0.0.1-24',
    'blocks/10.0.0.0-24/x',
    'affinities/n',
    'affinities//10.0.0.0-24',
    'handles/%',
    'else/x',
    'config/x',
  ])
    assert.equal(keys.kindOf(keys.root + rest), undefined, rest);
  assert.equal(keys.kindOf('/y/flatnet/ipam/config'), undefined);
});

test('usage of pools and blocks, and borrowed addresses', () => {
  const snapshot = snapshotOf(items(right()), keys);
  const block = { cidr: CIDR, node: 'node1', total: 4, used: 2 };
  assert.deepEqual(usage(snapshot, [pool('p', '10.0.0.0/24', 30), pool('q', 'fd00::/64', 122)]), [
    { pool: 'p', cidr: '10.0.0.0/24', total: '256', used: 2, blocks: [block] },
    { pool: 'q', cidr: 'fd00::/64', total: '18446744073709551616', used: 0, blocks: [] },
  ]);
  assert.deepEqual(usage(snapshot, []), [{ pool: '', cidr: CIDR, total: '4', used: 2, blocks: [block] }]);
  assert.deepEqual(borrowedUsage(snapshot), [
    { ip: '10.0.0.2', node: 'node2', block: CIDR, owner: 'node1', type: '', allocatedTo: 'shop/web' },
  ]);
});
