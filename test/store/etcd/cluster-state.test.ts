import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { parseIp } from '../../../src/ip/address.ts';
import { parseCidr } from '../../../src/ip/cidr.ts';
import { ClusterState } from '../../../src/store/etcd/cluster-state.ts';
import { encodeLease } from '../../../src/store/flannel/lease-value.ts';
import { encodeRecord } from '../../../src/store/flannel/node-record.ts';
import type { WatchEvent } from '../../../src/store/kv/kv.ts';
import type { ClusterView } from '../../../src/store/ports/feed.ts';
import { Keys, layout, stateOf, viewOf } from './keys.ts';

const GARBAGE = 'garbage';
const CONFIG = '{"Network":"10.0.0.0/8","Backend":{"Type":"vxlan"}}';

const subnetOf = (i: number) => parseCidr(`10.${i >> 8}.${i & 255}.0/24`);
const ipOf = (i: number) => parseIp(`172.16.${i >> 8}.${i & 255}`);
const lease = (i: number, type = 'vxlan'): string =>
  encodeLease({ addresses: { 4: ipOf(i) }, backend: { type, data: { 4: { VNI: 1 } } } });
const record = (name: string, i: number, subnet = i): string =>
  encodeRecord({
    name,
    labels: { n: name },
    addresses: { 4: ipOf(i) },
    subnets: [subnetOf(subnet)],
    instance: name,
  });

test('a recorded node has its name and labels, a plain flannel node its address', () => {
  const keys = new Keys();
  keys.put(layout.config, CONFIG);
  keys.put(layout.lease([subnetOf(1)]), lease(1));
  keys.put(layout.node('one'), record('one', 1));
  keys.put(layout.lease([subnetOf(2)]), lease(2, 'host-gw'));
  const state = stateOf(keys);
  const { nodes, network } = viewOf(state);
  assert.equal(network.backend.type, 'vxlan');
  assert.equal(state.revision, keys.revision);
  assert.deepEqual(nodes, [
    {
      name: '172.16.0.2',
      labels: {},
      addresses: { 4: '172.16.0.2' },
      subnets: ['10.0.2.0/24'],
      backend: { type: 'host-gw', data: { 4: { VNI: 1 } } },
    },
    {
      name: 'one',
      labels: { n: 'one' },
      addresses: { 4: '172.16.0.1' },
      subnets: ['10.0.1.0/24'],
      backend: { type: 'vxlan', data: { 4: { VNI: 1 } } },
    },
  ]);
});

test('an unreadable key is skipped with a warning and affects nothing else', () => {
  const keys = new Keys();
  keys.put(layout.config, CONFIG);
  keys.put(layout.lease([subnetOf(1)]), lease(1));
  keys.put('/net/subnets/nonsense', lease(3));
  keys.put(layout.lease([subnetOf(4)]), 'not json');
  keys.put(layout.lease([subnetOf(5)]), '{}');
  keys.put(layout.node('five'), '{');
  keys.put(layout.node('six'), record('seven', 6));
  keys.put('/net/flatnet/blocks/x', 'a value of a later release');
  const dual = [subnetOf(8), parseCidr('fd00:8::/64')];
  keys.put(layout.lease(dual), '{"PublicIP":"172.16.0.8","PublicIPv6":"bad","BackendType":"vxlan"}');
  const warnings: string[] = [];
  const { nodes } = viewOf(stateOf(keys, warnings));
  assert.deepEqual(
    nodes.map(({ name, subnets }) => [name, ...subnets]),
    [
      ['172.16.0.1', '10.0.1.0/24'],
      ['172.16.0.8', '10.0.8.0/24', 'fd00:8::/64'],
    ],
  );
  assert.deepEqual(warnings.map((text) => text.slice(0, text.indexOf(': '))).toSorted(), [
    '/net/flatnet/nodes/five',
    '/net/flatnet/nodes/six',
    '/net/subnets/10.0.4.0-24',
    '/net/subnets/10.0.8.0-24&fd00:8::-64',
    '/net/subnets/nonsense',
  ]);
});

test('there is no view without a configuration; an invalid or deleted one keeps the last', () => {
  const keys = new Keys();
  const warnings: string[] = [];
  const state = stateOf(keys, warnings);
  assert.equal(state.view(), undefined);
  const apply = (...events: WatchEvent[]): void => state.apply({ revision: keys.revision, events });
  apply(keys.put(layout.config, CONFIG));
  const first = viewOf(state);
  apply(keys.put(layout.config, `${CONFIG} `));
  assert.equal(viewOf(state), first, 'an equal network is not a change');
  apply(keys.put(layout.config, '{"Network":"10.0.0.0/33"}'));
  assert.equal(warnings.length, 1);
  assert.equal(viewOf(state), first);
  apply(keys.delete(layout.config));
  assert.equal(viewOf(state), first);
  apply(keys.put(layout.config, CONFIG.replace('vxlan', 'host-gw')));
  assert.equal(viewOf(state).network.backend.type, 'host-gw');
});

test('incremental and full updates give the same view, and unchanged nodes stay the same objects', () => {
  const names = ['a', 'b', 'c'];
  const small = fc.nat(3);
  const change = fc.oneof(
    fc.record({
      what: fc.constant('lease' as const),
      subnet: small,
      ip: small,
      type: fc.constantFrom('vxlan', 'host-gw'),
    }),
    fc.record({
      what: fc.constant('record' as const),
      name: fc.constantFrom(...names),
      ip: small,
      subnet: small,
    }),
    fc.record({ what: fc.constantFrom('unlease' as const, 'garbage' as const), subnet: small }),
    fc.record({ what: fc.constant('unrecord' as const), name: fc.constantFrom(...names) }),
  );
  const event = (keys: Keys, one: typeof change extends fc.Arbitrary<infer T> ? T : never): WatchEvent => {
    switch (one.what) {
      case 'lease':
        return keys.put(layout.lease([subnetOf(one.subnet)]), lease(one.ip, one.type));
      case 'record':
        return keys.put(layout.node(one.name), record(one.name, one.ip, one.subnet));
      case 'unlease':
        return keys.delete(layout.lease([subnetOf(one.subnet)]));
      case 'garbage':
        return keys.put(layout.lease([subnetOf(one.subnet)]), GARBAGE);
      case 'unrecord':
        return keys.delete(layout.node(one.name));
    }
  };
  fc.assert(
    fc.property(fc.array(fc.array(change, { maxLength: 4 }), { maxLength: 25 }), (batches) => {
      const keys = new Keys();
      keys.put(layout.config, CONFIG);
      const state = stateOf(keys);
      const relisted = stateOf(keys);
      const good = new Map(keys.items);
      for (const batch of batches) {
        const before = viewOf(state).nodes;
        state.apply({ events: batch.map((one) => event(keys, one)), revision: keys.revision });
        relisted.reset([...keys.items.values()], keys.revision);
        const after = viewOf(state).nodes;
        for (const { key } of keys.items.values()) {
          const item = keys.items.get(key) ?? assert.fail();
          // A key without a good value says nothing; one with, goes on saying it.
          if (item.value !== GARBAGE) good.set(key, item);
          else if (good.get(key)?.createRevision !== item.createRevision) good.delete(key);
        }
        for (const key of good.keys()) if (!keys.items.has(key)) good.delete(key);
        const said = new ClusterState(layout, () => {});
        said.reset([...good.values()], keys.revision);
        assert.deepEqual(after, viewOf(said).nodes);
        assert.deepEqual(viewOf(relisted).nodes, after);
        for (const node of after) {
          const old = before.find(({ name }) => name === node.name);
          if (old && JSON.stringify(old) === JSON.stringify(node)) assert.equal(node, old);
        }
        assert.deepEqual(
          after.map(({ name }) => name),
          after.map(({ name }) => name).toSorted(),
        );
      }
    }),
    { numRuns: 300 },
  );
});

test('nodes of an earlier view that are the same stay the same objects; the others are as stored, or gone', () => {
  const keys = new Keys();
  keys.put(layout.config, CONFIG);
  for (const i of [1, 2, 3]) keys.put(layout.lease([subnetOf(i)]), lease(i));
  keys.put(layout.node('one'), record('one', 1));
  // As saved by an earlier agent.
  const last: ClusterView = JSON.parse(JSON.stringify(viewOf(stateOf(keys))));
  keys.delete(layout.lease([subnetOf(3)]));
  keys.put(layout.lease([subnetOf(2)]), lease(2, 'host-gw'));
  const state = new ClusterState(layout, () => {});
  state.assume(last);
  assert.deepEqual(state.view()?.nodes, [], 'nothing is known of the store yet');
  state.reset([...keys.items.values()], keys.revision);
  const { nodes } = viewOf(state);
  assert.deepEqual(nodes, viewOf(stateOf(keys)).nodes);
  const one = last.nodes.find(({ name }) => name === 'one');
  assert.ok(one && nodes.includes(one));
  assert.equal(nodes.length, 2);
});

test('with 5,000 nodes, a change is cheap and affects nothing else', (t) => {
  const count = 5_000;
  const keys = new Keys();
  keys.put(layout.config, CONFIG);
  const write = (i: number, type: string): WatchEvent[] => [
    keys.put(layout.lease([subnetOf(i)]), lease(i, type)),
    keys.put(layout.node(`node${i}`), record(`node${i}`, i)),
  ];
  for (let i = 0; i < count; i++) write(i, 'vxlan');
  const start = performance.now();
  const state = stateOf(keys);
  const first = viewOf(state);
  const listed = performance.now() - start;
  assert.equal(first.nodes.length, count);

  const changes = 200;
  let view = first;
  const begin = performance.now();
  for (let i = 0; i < changes; i++) {
    state.apply({ events: write(i * 7, 'host-gw'), revision: keys.revision });
    view = viewOf(state);
  }
  const each = (performance.now() - begin) / changes;
  const before = new Set(first.nodes);
  assert.equal(view.nodes.filter((node) => !before.has(node)).length, changes);
  assert.ok(each < 2, `${each.toFixed(2)} ms a change`);

  state.reset([...keys.items.values()], keys.revision);
  assert.equal(viewOf(state), view, 'listing the same again changes nothing');
  assert.ok(listed < 2_000, `${listed} ms to read the list`);
  t.diagnostic(`5,000 nodes: list ${listed.toFixed(0)} ms, one change ${each.toFixed(3)} ms`);
});
