import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { readNetwork } from '../../../src/cluster/network.ts';
import { parseIp } from '../../../src/ip/address.ts';
import { parseCidr } from '../../../src/ip/cidr.ts';
import { ClusterState } from '../../../src/store/kubernetes/cluster-state.ts';
import { encodeAnnotations } from '../../../src/store/kubernetes/node/annotations.ts';
import { annotationKeys } from '../../../src/store/kubernetes/node/keys.ts';
import { type NodeReading, readNode } from '../../../src/store/kubernetes/node/read.ts';

const KEYS = annotationKeys();
const NETWORK = readNetwork({ Network: '10.244.0.0/16', Backend: { Type: 'vxlan' } });

type NodeOptions = {
  readonly number?: number;
  readonly uid?: string;
  /** Seconds. */
  readonly created?: number;
  readonly podCIDR?: string;
  readonly annotations?: Record<string, string>;
  readonly member?: boolean;
};

/** A Node object as read. */
function node(name: string, options: NodeOptions = {}): NodeReading {
  const { number = 1, uid = name, created = 1, podCIDR = `10.244.${number}.0/24`, member = true } = options;
  const written = encodeAnnotations(
    KEYS,
    {
      self: {
        name,
        labels: {},
        addresses: { 4: parseIp(`192.0.2.${number}`) },
        backend: { type: 'vxlan', data: { 4: { VNI: 1 } } },
      },
      subnets: [parseCidr('10.244.1.0/24')],
      instance: 'i',
    },
    {},
  );
  const own = Object.fromEntries(Object.entries(written).filter(([, value]) => value !== null));
  const metadata = {
    name,
    uid,
    resourceVersion: '1',
    creationTimestamp: new Date(created * 1000).toISOString(),
    labels: { zone: 'a' },
    annotations: { ...(member && (own as Record<string, string>)), ...options.annotations },
  };
  return readNode(KEYS, { metadata, spec: podCIDR ? { podCIDR } : {} });
}

const stateOf = (...readings: NodeReading[]): ClusterState => {
  const state = new ClusterState();
  state.network = NETWORK;
  for (const reading of readings) state.set(reading);
  return state;
};
const subnets = (state: ClusterState): Record<string, readonly string[]> =>
  Object.fromEntries(state.view()?.nodes.map((each) => [each.name, each.subnets]) ?? []);

test('nodes are those on which an agent runs, by name, with the Node’s labels', () => {
  const state = stateOf(node('b', { number: 2 }), node('a'), node('c', { number: 3, member: false }));
  const view = state.view();
  assert.deepEqual(
    view?.nodes.map(({ name, labels }) => [name, labels]),
    [
      ['a', { zone: 'a' }],
      ['b', { zone: 'a' }],
    ],
  );
  assert.equal(state.view(), view, 'the same object while nothing changes');
  state.set({ ...node('b', { number: 2 }), version: '2' });
  assert.equal(state.view(), view, 'a heartbeat is no change');
  state.set(node('d', { number: 4 }));
  assert.equal(state.view()?.nodes[0], view?.nodes[0]);
});

test('garbage does not end a node, until its Node is another', () => {
  const bad = { [KEYS.publicIp[4]]: 'nonsense', [KEYS.backendData[4]]: '[[', 'flatnet.dev/node': '7' };
  const state = stateOf(node('a'));
  const good = state.view();
  state.set(node('a', { annotations: bad }));
  assert.equal(state.view(), good);
  assert.ok(state.isKept('a'));
  state.set(node('a', { annotations: bad, uid: 'other' }));
  assert.deepEqual(state.view()?.nodes, []);
  state.set(node('a', { uid: 'other' }));
  assert.deepEqual(state.view()?.nodes, good?.nodes);
});

test('a podCIDR that the network does not allow, or of an older Node, is not the node’s', () => {
  const state = stateOf(
    node('a', { number: 1, created: 5 }),
    node('b', { number: 2, created: 6, podCIDR: '10.244.1.0/24' }),
    node('c', { number: 3, podCIDR: '10.99.0.0/24' }),
    node('d', { number: 4, podCIDR: '10.244.128.0/17' }),
  );
  assert.deepEqual(subnets(state), { a: ['10.244.1.0/24'], b: [], c: [], d: [] });
  assert.match(state.refusal('b') ?? '', /overlaps 10\.244\.1\.0\/24 of a, which is older/);
  assert.deepEqual(state.refusals.map(([name]) => name).sort(), ['b', 'c', 'd']);
  state.delete('a');
  assert.deepEqual(subnets(state).b, ['10.244.1.0/24']);
  state.network = readNetwork({ Network: '10.0.0.0/8', Backend: { Type: 'vxlan' } });
  assert.deepEqual(subnets(state).c, ['10.99.0.0/24']);
});

test('the order in which Nodes arrive and change does not matter', () => {
  const change = fc.record({
    name: fc.constantFrom('a', 'b', 'c', 'd'),
    number: fc.integer({ min: 1, max: 5 }),
    created: fc.integer({ min: 1, max: 3 }),
    member: fc.boolean(),
    podCIDR: fc.constantFrom('10.244.1.0/24', '10.244.1.0/25', '10.244.2.0/24', '10.9.0.0/24', ''),
    gone: fc.boolean(),
  });
  fc.assert(
    fc.property(fc.array(change, { maxLength: 20 }), (changes) => {
      const state = stateOf();
      const last = new Map<string, NodeReading>();
      for (const { name, gone, ...options } of changes) {
        const reading = node(name, options);
        if (gone) {
          last.delete(name);
          state.delete(name);
        } else {
          last.set(name, reading);
          state.set(reading);
        }
        state.view();
      }
      const fresh = stateOf(...[...last.values()].reverse());
      assert.deepEqual(state.view(), fresh.view());
      assert.deepEqual(state.refusals.toSorted(), fresh.refusals.toSorted());
    }),
  );
});
