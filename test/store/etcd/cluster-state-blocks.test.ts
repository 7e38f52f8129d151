import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { API_VERSION, type Document } from '../../../src/cluster/calico/document.ts';
import { DEFAULT_BGP_CONFIGURATION, NO_RESOURCES } from '../../../src/cluster/resources.ts';
import { parseIp } from '../../../src/ip/address.ts';
import { parseCidr } from '../../../src/ip/cidr.ts';
import { problemText } from '../../../src/problem.ts';
import { BlockKeys } from '../../../src/store/etcd/block-keys.ts';
import { ClusterState } from '../../../src/store/etcd/cluster-state.ts';
import { keyProblems } from '../../../src/store/etcd/ignored.ts';
import { putDocument } from '../../../src/store/etcd/resources.ts';
import { encodeLease } from '../../../src/store/flannel/lease-value.ts';
import { encodeRecord } from '../../../src/store/flannel/node-record.ts';
import type { WatchEvent } from '../../../src/store/kv/kv.ts';
import type { ClusterView } from '../../../src/store/ports/feed.ts';
import { Keys, layout, stateOf, viewOf } from './keys.ts';

const ipam = new BlockKeys('/net');
const LEASE = '{"Network":"10.0.0.0/8","wiring":"routed","Backend":{"Type":"bgp"}}';
const BLOCKS = '{"Network":"10.0.0.0/8","addresses":"blocks","wiring":"routed","Backend":{"Type":"bgp"}}';

const ipOf = (i: number) => parseIp(`172.16.0.${i}`);
const blockOf = (i: number) => parseCidr(`10.0.0.${i * 64}/26`);
const record = (name: string, i: number): string =>
  encodeRecord({
    name,
    labels: { n: name },
    addresses: { 4: ipOf(i) },
    subnets: [],
    instance: name,
    backend: { type: 'bgp', data: { 4: { i } } },
  });
const document = (kind: Document['kind'], name: string, spec: Document['spec']): Document => ({
  apiVersion: API_VERSION,
  kind,
  metadata: { name },
  spec,
});
const put = (keys: Keys, written: Document): WatchEvent => {
  const { key, value } = putDocument(layout, written);
  return keys.put(key, value, '0');
};

const ignored = (state: ClusterState): string[] => keyProblems(state, layout).map(problemText);

test('of two nodes’ affinities to overlapping blocks the older one counts, if its node has joined', () => {
  const keys = new Keys();
  keys.put(layout.config, BLOCKS);
  const [old, young, wide] = [
    ipam.affinity('a', blockOf(1)),
    ipam.affinity('b', blockOf(1)),
    ipam.affinity('c', parseCidr('10.0.0.0/24')),
  ];
  keys.put(old, 'confirmed', '0');
  keys.put(young, 'confirmed', '0');
  keys.put(wide, 'confirmed', '0');
  keys.put(ipam.affinity('c', parseCidr('10.0.1.0/26')), 'confirmed', '0');
  for (const [i, name] of ['b', 'c'].entries()) keys.put(layout.node(name), record(name, i + 2));
  const state = stateOf(keys);
  const held = () => viewOf(state).nodes.map(({ name, subnets }) => `${name} ${subnets}`);
  assert.deepEqual(held(), ['b 10.0.0.64/26', 'c 10.0.1.0/26']);
  assert.match(
    ignored(state).join('\n'),
    /^\S+ is ignored: 10\.0\.0\.0\/24 of c overlaps 10\.0\.0\.64\/26 of b, .*$/,
  );
  const apply = (...events: WatchEvent[]): void => state.apply({ revision: keys.revision, events });
  apply(keys.put(layout.node('a'), record('a', 1)));
  assert.deepEqual(held(), ['a 10.0.0.64/26', 'b ', 'c 10.0.1.0/26']);
  assert.equal(ignored(state).length, 2);
  assert.deepEqual(viewOf(stateOf(keys)), viewOf(state));
  apply(keys.put(layout.node('a'), record('a', 4)));
  assert.deepEqual(held(), ['a 10.0.0.64/26', 'b ', 'c 10.0.1.0/26']);
  apply(keys.delete(old));
  apply(keys.delete(young));
  assert.deepEqual(held(), ['a ', 'b ', 'c 10.0.0.0/24,10.0.1.0/26']);
  assert.deepEqual(ignored(state), []);
});

test('under the blocks plan, a node consists of its record and confirmed blocks; leases are ignored', () => {
  const keys = new Keys();
  keys.put(layout.config, BLOCKS);
  keys.put(layout.node('b'), record('b', 2));
  keys.put(layout.node('a'), record('a', 1));
  keys.put(ipam.affinity('b', blockOf(3)), 'confirmed', '0');
  keys.put(ipam.affinity('b', parseCidr('fd00::40/122')), 'confirmed', '0');
  keys.put(ipam.affinity('b', blockOf(1)), 'confirmed', '0');
  keys.put(ipam.affinity('a', blockOf(2)), 'pending', '0');
  keys.put(ipam.affinity('gone', blockOf(0)), 'confirmed', '0');
  const leased = encodeLease({ addresses: { 4: ipOf(1) }, backend: { type: 'vxlan', data: {} } });
  keys.put(layout.lease([parseCidr('10.1.0.0/24')]), leased);
  const { nodes } = viewOf(stateOf(keys));
  assert.deepEqual(nodes, [
    {
      name: 'a',
      labels: { n: 'a' },
      addresses: { 4: ipOf(1) },
      subnets: [],
      backend: { type: 'bgp', data: { 4: { i: 1 } } },
    },
    {
      name: 'b',
      labels: { n: 'b' },
      addresses: { 4: ipOf(2) },
      subnets: ['10.0.0.64/26', '10.0.0.192/26', 'fd00::40/122'],
      backend: { type: 'bgp', data: { 4: { i: 2 } } },
    },
  ]);
});

test('key ranges may arrive in any order', () => {
  const keys = new Keys();
  keys.put(layout.config, BLOCKS);
  keys.put(layout.node('a'), record('a', 1));
  keys.put(layout.node('b'), record('b', 2));
  keys.put(ipam.affinity('a', blockOf(2)), 'confirmed', '0');
  const items = [...keys.items.values()];
  for (const order of [layout.watched, layout.watched.toReversed()]) {
    const state = new ClusterState(layout, assert.fail);
    for (const range of order) {
      const part = items.filter(({ key }) => key >= range.from && key < range.to);
      state.reset(part, keys.revision, range);
    }
    assert.deepEqual(viewOf(state).nodes, viewOf(stateOf(keys)).nodes);
  }
});

test('allocations cause no new view and are not stored', () => {
  const keys = new Keys();
  keys.put(layout.config, BLOCKS);
  const state = stateOf(keys);
  const view = viewOf(state);
  const events = [keys.put(ipam.block(blockOf(1)), '{}', '0'), keys.put(ipam.handle('a/b'), '{}', '0')];
  state.apply({ events, revision: keys.revision });
  assert.equal(viewOf(state), view);
  assert.equal(state.item(ipam.block(blockOf(1))), undefined);
});

test('an unreadable resource keeps its last valid value with a warning; a deleted one disappears', () => {
  const keys = new Keys();
  const warnings: string[] = [];
  keys.put(layout.config, LEASE);
  const state = stateOf(keys, warnings);
  const apply = (...events: WatchEvent[]): ClusterView => {
    state.apply({ revision: keys.revision, events });
    return viewOf(state);
  };
  assert.equal(viewOf(state).resources, NO_RESOURCES);
  const key = layout.resource('IPPool', 'p');
  const first = apply(put(keys, document('IPPool', 'p', { cidr: '10.0.0.0/16' })));
  assert.equal(first.resources.ipPools[0]?.blockSize, 26);
  for (const garbage of [
    '{',
    '[]',
    '{"kind":"IPPool"}',
    putDocument(layout, document('IPPool', 'q', { cidr: '10.0.0.0/16' })).value,
    putDocument(layout, document('IPPool', 'p', { cidr: '10.0.0.0/16', later: 1 })).value,
  ]) {
    assert.equal(apply(keys.put(key, garbage)), first, garbage);
  }
  assert.equal(warnings.length, 5);
  assert.match(
    warnings[4] ?? '',
    /^\/net\/flatnet\/resources\/IPPool\/p: IPPool\/p spec\.later: is not a known field/,
  );
  assert.match(
    ignored(state).join(),
    /^\/net\/flatnet\/resources\/IPPool\/p is ignored: IPPool\/p spec\.later: is not .*; its last good value stays in force; correct or delete it$/,
  );
  const same = apply(
    keys.put(key, putDocument(layout, document('IPPool', 'p', { cidr: '10.0.0.0/16', blockSize: 26 })).value),
  );
  assert.equal(same, first, 'an equivalent resource is not a change');
  assert.deepEqual(ignored(state), []);

  const more = apply(put(keys, document('BGPConfiguration', 'default', { asNumber: 65000 })));
  assert.equal(more.resources.bgpConfiguration.asNumber, 65000);
  assert.equal(more.resources.ipPools, first.resources.ipPools, 'the others stay the same objects');
  assert.equal(more.nodes, first.nodes);

  const without = apply(keys.delete(key), keys.delete(layout.resource('BGPConfiguration', 'default')));
  assert.deepEqual(without.resources, NO_RESOURCES);
  assert.equal(without.resources.bgpConfiguration, DEFAULT_BGP_CONFIGURATION);
});

test('incremental and full updates give the same view and objects under either plan', () => {
  const small = fc.nat(3);
  const name = fc.constantFrom('a', 'b', 'c');
  const change = fc.oneof(
    fc.record({ what: fc.constant('record' as const), name, i: small }),
    fc.record({ what: fc.constant('unrecord' as const), name }),
    fc.record({
      what: fc.constantFrom('pending' as const, 'confirmed' as const, 'unclaim' as const),
      name,
      i: small,
    }),
    fc.record({ what: fc.constant('lease' as const), i: small, ip: small }),
    fc.record({ what: fc.constantFrom('pool' as const, 'unpool' as const), i: small, on: fc.boolean() }),
    fc.record({ what: fc.constant('node' as const), name, i: small }),
    fc.record({ what: fc.constant('plan' as const), on: fc.boolean() }),
  );
  type Change = typeof change extends fc.Arbitrary<infer T> ? T : never;
  const event = (keys: Keys, one: Change): WatchEvent => {
    switch (one.what) {
      case 'record':
        return keys.put(layout.node(one.name), record(one.name, one.i));
      case 'unrecord':
        return keys.delete(layout.node(one.name));
      case 'pending':
      case 'confirmed':
        return keys.put(ipam.affinity(one.name, blockOf(one.i)), one.what, '0');
      case 'unclaim':
        return keys.delete(ipam.affinity(one.name, blockOf(one.i)));
      case 'lease': {
        const value = encodeLease({ addresses: { 4: ipOf(one.ip) }, backend: { type: 'bgp', data: {} } });
        return keys.put(layout.lease([parseCidr(`10.1.${one.i}.0/24`)]), value);
      }
      case 'pool':
        return put(keys, document('IPPool', `p${one.i}`, { cidr: `10.${one.i}.0.0/16`, disabled: one.on }));
      case 'unpool':
        return keys.delete(layout.resource('IPPool', `p${one.i}`));
      case 'node':
        return put(keys, document('Node', one.name, { bgp: { asNumber: 65000 + one.i } }));
      case 'plan':
        return keys.put(layout.config, one.on ? BLOCKS : LEASE);
    }
  };
  fc.assert(
    fc.property(fc.array(fc.array(change, { maxLength: 4 }), { maxLength: 25 }), (batches) => {
      const keys = new Keys();
      keys.put(layout.config, BLOCKS);
      const state = stateOf(keys);
      const relisted = stateOf(keys);
      for (const batch of batches) {
        const before = viewOf(state);
        state.apply({ events: batch.map((one) => event(keys, one)), revision: keys.revision });
        relisted.reset([...keys.items.values()], keys.revision);
        const after = viewOf(state);
        const fresh = viewOf(stateOf(keys));
        for (const view of [fresh, viewOf(relisted)]) {
          assert.deepEqual(view.nodes, after.nodes);
          assert.deepEqual(view.resources, after.resources);
          assert.deepEqual(view.network, after.network);
        }
        for (const node of after.nodes) {
          const old = before.nodes.find((each) => each.name === node.name);
          if (old && JSON.stringify(old) === JSON.stringify(node)) assert.equal(node, old);
        }
        for (const pool of after.resources.ipPools) {
          const old = before.resources.ipPools.find((each) => each.name === pool.name);
          if (old?.disabled === pool.disabled) assert.equal(pool, old);
        }
        if (JSON.stringify(before.resources.ipPools) === JSON.stringify(after.resources.ipPools)) {
          assert.equal(after.resources.ipPools, before.resources.ipPools);
        }
      }
    }),
    { numRuns: 300 },
  );
});

test('a wrong entry of the BGPConfiguration costs only itself; a wrong peer costs no other, and both are named', () => {
  const keys = new Keys();
  keys.put(layout.config, LEASE);
  const state = stateOf(keys, []);
  const apply = (...events: WatchEvent[]): ClusterView => {
    state.apply({ revision: keys.revision, events });
    return viewOf(state);
  };
  const { resources } = apply(
    put(
      keys,
      document('BGPConfiguration', 'default', {
        asNumber: 65000,
        communities: [
          { name: 'good', value: '65000:1' },
          { name: 'bad', value: '65000:99999' },
          { name: 'good', value: '65000:2' },
          'nonsense',
        ],
        serviceClusterIPs: [{ cidr: '10.96.0.0/12' }, { cidr: '10.96.0.0/99' }],
        prefixAdvertisements: [
          { cidr: '10.0.0.0/16', communities: ['good'] },
          { cidr: '10.1.0.0/16', communities: ['bad'] },
        ],
      }),
    ),
    put(keys, document('BGPPeer', 'good', { peerIP: '192.0.2.1', asNumber: 1 })),
    put(keys, document('BGPPeer', 'bad', { peerIP: 'fe80::2ec8:1bff:feab:9e54', asNumber: 1 })),
    put(keys, document('BGPFilter', 'bad', { exportV4: [{ action: 'Maybe' }] })),
  );
  const { asNumber, communities, serviceCidrs, prefixAdvertisements } = resources.bgpConfiguration;
  assert.equal(asNumber, 65000);
  assert.deepEqual(communities, { good: [65000, 1] });
  assert.deepEqual(serviceCidrs, ['10.96.0.0/12']);
  assert.deepEqual(prefixAdvertisements, [{ cidr: '10.0.0.0/16', communities: [[65000, 1]] }]);
  assert.deepEqual(
    resources.bgpPeers.map(({ name }) => name),
    ['good'],
  );
  const about = ignored(state).map((text) =>
    /^\S+\/([^/]+\/\w+) is (ignored.*?): .* spec\.(\S+): .*; correct or delete it$/.exec(text)?.slice(1),
  );
  assert.deepEqual(about, [
    ['BGPConfiguration/default', 'ignored in part', 'communities[1].value'],
    ['BGPConfiguration/default', 'ignored in part', 'communities[2].name'],
    ['BGPConfiguration/default', 'ignored in part', 'communities[3]'],
    ['BGPConfiguration/default', 'ignored in part', 'serviceClusterIPs[1].cidr'],
    ['BGPConfiguration/default', 'ignored in part', 'prefixAdvertisements[1].communities[0]'],
    ['BGPFilter/bad', 'ignored', 'exportV4[0].action'],
    ['BGPPeer/bad', 'ignored', 'peerIP'],
  ]);
  apply(keys.delete(layout.resource('BGPPeer', 'bad')));
  assert.equal(ignored(state).length, 6);
});
