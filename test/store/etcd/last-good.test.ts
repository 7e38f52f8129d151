import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseIp } from '../../../src/ip/address.ts';
import { parseCidr } from '../../../src/ip/cidr.ts';
import { problemText } from '../../../src/problem.ts';
import { chooseSubnets } from '../../../src/store/etcd/acquire.ts';
import { BlockKeys } from '../../../src/store/etcd/block-keys.ts';
import type { ClusterState } from '../../../src/store/etcd/cluster-state.ts';
import { checkHolding, writeHolding } from '../../../src/store/etcd/holding.ts';
import { keyProblems } from '../../../src/store/etcd/ignored.ts';
import { encodeLease } from '../../../src/store/flannel/lease-value.ts';
import { encodeRecord } from '../../../src/store/flannel/node-record.ts';
import type { WatchEvent } from '../../../src/store/kv/kv.ts';
import { Keys, layout, stateOf, viewOf } from './keys.ts';

const LEASES = '{"Network":"10.0.0.0/8","Backend":{"Type":"vxlan"}}';
const BLOCKS = '{"Network":"10.0.0.0/8","addresses":"blocks","wiring":"routed","Backend":{"Type":"bgp"}}';
const SUBNET = parseCidr('10.0.1.0/24');
const ADDRESSES = { 4: parseIp('172.16.0.1') };
const BACKEND = { type: 'vxlan', data: { 4: { VNI: 1 } } };
const LEASE = encodeLease({ addresses: ADDRESSES, backend: BACKEND });
const SELF = { name: 'one', labels: { n: 'one' }, addresses: ADDRESSES, backend: BACKEND };
const record = (subnets = [SUBNET]): string => encodeRecord({ ...SELF, subnets, instance: 'first' });
const ipam = new BlockKeys('/net');

const JUNK = ['', 'null', '[]', '{}', '{', '"text"', '{"PublicIP":"::::"}', '{"PublicIP":"127.0.0.1"}'];

const ignored = (state: ClusterState): string[] => keyProblems(state, layout).map(problemText);

function started(plan: string): { keys: Keys; state: ClusterState; apply(...events: WatchEvent[]): void } {
  const keys = new Keys();
  keys.put(layout.config, plan);
  const state = stateOf(keys);
  return { keys, state, apply: (...events) => state.apply({ revision: keys.revision, events }) };
}

for (const junk of JUNK) {
  test(`a lease or record overwritten with '${junk}' stays in force and is named`, () => {
    const { keys, state, apply } = started(LEASES);
    const lease = layout.lease([SUBNET]);
    apply(keys.put(lease, LEASE), keys.put(layout.node('one'), record()));
    const before = viewOf(state);
    apply(keys.put(lease, junk, '0'));
    assert.equal(viewOf(state), before, 'the same object');
    assert.match(
      ignored(state).join('\n'),
      /^\/net\/subnets\/10\.0\.1\.0-24 is ignored: .*; its last good value stays in force; correct or delete it$/,
    );
    apply(keys.put(layout.node('one'), junk, '0'));
    assert.equal(viewOf(state), before);
    assert.equal(ignored(state).length, 2);
    state.reset([...keys.items.values()], keys.revision);
    assert.equal(viewOf(state), before, 'also over a new list');

    apply(keys.put(lease, LEASE), keys.put(layout.node('one'), record()));
    assert.deepEqual(ignored(state), []);
    apply(keys.put(lease, junk), keys.delete(lease));
    assert.deepEqual(viewOf(state).nodes, [], 'a deleted key ends it');
    apply(keys.put(lease, junk));
    assert.deepEqual(viewOf(state).nodes, [], 'what was deleted does not come back');
  });
}

test('junk in a key that was deleted in between says nothing, even if both arrive at once', () => {
  const { keys, state, apply } = started(LEASES);
  const lease = layout.lease([SUBNET]);
  apply(keys.put(lease, LEASE));
  apply(keys.delete(lease), keys.put(lease, 'junk'));
  assert.deepEqual(viewOf(state).nodes, []);
});

test('a key of another node’s good value replaces the last good one', () => {
  const { keys, state, apply } = started(LEASES);
  const lease = layout.lease([SUBNET]);
  apply(keys.put(lease, LEASE));
  apply(keys.put(lease, 'junk'));
  apply(keys.put(lease, encodeLease({ addresses: { 4: parseIp('172.16.0.2') }, backend: BACKEND })));
  assert.deepEqual(
    viewOf(state).nodes.map(({ name }) => name),
    ['172.16.0.2'],
  );
});

test('a node under the blocks plan keeps its record and its confirmed blocks', () => {
  const { keys, state, apply } = started(BLOCKS);
  const block = parseCidr('10.0.0.64/26');
  const affinity = ipam.affinity('one', block);
  apply(keys.put(layout.node('one'), record([])), keys.put(affinity, 'confirmed', '0'));
  const before = viewOf(state);
  assert.deepEqual(before.nodes[0]?.subnets, [block]);
  apply(keys.put(layout.node('one'), '{'), keys.put(affinity, 'junk', '0'));
  assert.equal(viewOf(state), before);
  assert.equal(ignored(state).length, 2);
  assert.match(
    ignored(state).join('\n'),
    /^\S+ is ignored: 'junk' is not an affinity state; its last good value stays in force/m,
  );
  apply(keys.put(affinity, 'pending', '0'));
  assert.deepEqual(viewOf(state).nodes[0]?.subnets, [], 'a lawful state counts');
  apply(keys.put(affinity, 'junk', '0'));
  assert.deepEqual(viewOf(state).nodes[0]?.subnets, []);
});

test('the node itself restores its damaged keys under its own lease, and keeps its subnet when it joins', () => {
  for (const junk of JUNK) {
    const { keys, state, apply } = started(LEASES);
    const lease = layout.lease([SUBNET]);
    apply(keys.put(lease, LEASE), keys.put(layout.node('one'), record()));
    apply(keys.put(lease, junk, '0'));
    const holding = { self: SELF, subnets: [SUBNET], instance: 'first' };
    // With the memory of a feed, and without.
    for (const each of [state, stateOf(keys)]) {
      checkHolding(each, holding, new Set(Object.values(ADDRESSES)));
      const { success } = writeHolding(layout, each, holding, [], '9');
      assert.deepEqual(
        success.map((operation) => operation.op === 'put' && [operation.key, operation.lease]),
        [
          [lease, '9'],
          [layout.node('one'), '9'],
        ],
        'no reservation',
      );
      const { network } = viewOf(each);
      const { subnets } = chooseSubnets(each, network, SELF, {}, () => 0.7);
      assert.deepEqual(subnets, [SUBNET], junk);
    }
  }
});

test('junk in the key of a family is not another node’s name', () => {
  const dual = [SUBNET, parseCidr('fd00:1::/64')];
  const self = { ...SELF, addresses: { ...ADDRESSES, 6: parseIp('fd77::1') } };
  const holding = { self, subnets: dual, instance: 'first' };
  for (const junk of ['', '{}', 'No Name', 'x\ny', `${'x'.repeat(300)}`]) {
    const { keys, state, apply } = started(LEASES);
    const { addresses } = self;
    apply(keys.put(layout.lease(dual), encodeLease({ addresses, backend: BACKEND })));
    apply(...dual.map((subnet) => keys.put(layout.family(subnet), junk)));
    checkHolding(state, holding, new Set(Object.values(addresses)));
    assert.equal(ignored(state).length, 2, junk);
  }
});
