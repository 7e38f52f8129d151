import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isDeepStrictEqual } from 'node:util';
import fc from 'fast-check';
import { networkToNetConf } from '../../../src/cluster/network.ts';
import { FlatnetError } from '../../../src/error.ts';
import { parseCidr } from '../../../src/ip/cidr.ts';
import { type Problem, problemText } from '../../../src/problem.ts';
import { encodeBlock, encodeConfig, encodeHandle } from '../../../src/store/etcd/block-codec.ts';
import { snapshotOf } from '../../../src/store/etcd/block-items.ts';
import { BlockKeys } from '../../../src/store/etcd/block-keys.ts';
import { keyProblems } from '../../../src/store/etcd/ignored.ts';
import { putDocument } from '../../../src/store/etcd/resources.ts';
import { encodeLease } from '../../../src/store/flannel/lease-value.ts';
import { encodeRecord } from '../../../src/store/flannel/node-record.ts';
import { type Block, DEFAULT_IPAM_CONFIG } from '../../../src/store/ports/blocks.ts';
import type { ClusterView } from '../../../src/store/ports/feed.ts';
import { factsOf, nodesOf, type Plan } from '../../backends/cluster.ts';
import { resources, type Written } from '../../cluster/calico/arbitraries.ts';
import { composedState } from '../../desired/composed.ts';
import { mutationsOf } from '../mutations.ts';
import { Keys, layout, stateOf, viewOf } from './keys.ts';

// Whatever becomes of one value in the store: it is used, or it is named, and nothing else changes.

const PLANS: readonly Plan[] = [
  { size: 4, families: [4, 6], backend: { Type: 'vxlan' }, networks: 1 },
  { size: 4, families: [4], backend: { Type: 'host-gw' }, networks: 1 },
];

/** A valid store of the plan, with these resources. */
function storeOf(plan: Plan, written: readonly Written[]): Keys {
  const keys = new Keys();
  keys.put(layout.config, networkToNetConf(factsOf(plan).network), '0');
  for (const node of nodesOf(plan)) {
    keys.put(layout.lease(node.subnets), encodeLease(node));
    keys.put(layout.node(node.name), encodeRecord({ ...node, instance: node.name }));
  }
  for (const { document } of written) {
    const { key, value } = putDocument(layout, document);
    keys.put(key, value, '0');
  }
  return keys;
}

function copyOf(keys: Keys): Keys {
  const copy = new Keys();
  for (const { key, value, lease } of keys.items.values()) copy.put(key, value, lease);
  return copy;
}

/** One line each, which no value makes endless or colourful. */
function fitForPeople(problems: readonly Problem[]): void {
  for (const problem of problems.map(problemText)) {
    assert.ok(problem.length < 800, `${problem.length} characters`);
    assert.doesNotMatch(problem, /\p{Cc}/u);
  }
}

function noPollution(value: unknown): void {
  assert.equal(Reflect.get({}, 'polluted'), undefined);
  if (typeof value !== 'object' || value === null) return;
  if (!(value instanceof Map)) {
    const prototype: unknown = Object.getPrototypeOf(value);
    assert.ok([Object.prototype, Array.prototype, null].includes(prototype as null), 'a foreign prototype');
  }
  for (const each of Object.values(value)) noPollution(each);
}

/** Every node and resource of the view, by name. */
function entries({ nodes, resources: all }: ClusterView): Map<string, unknown> {
  const found = new Map<string, unknown>(nodes.map((node) => [`node ${node.name}`, node]));
  for (const [kind, list] of Object.entries(all)) {
    if (Array.isArray(list)) for (const each of list) found.set(`${kind} ${each.name}`, each);
    else found.set(kind, list);
  }
  return found;
}

for (const plan of PLANS) {
  test(`a mutated value is used or named, and costs only itself (${plan.backend.Type})`, () => {
    const changes = fc
      .uniqueArray(resources, {
        maxLength: 5,
        selector: ({ document: { kind, metadata } }) => `${kind} ${metadata.name}`,
      })
      .chain((written) => {
        const keys = storeOf(plan, written);
        return fc.record({
          original: fc.constant(keys),
          change: fc
            .constantFrom(...keys.items.values())
            .chain(({ key, value }) => fc.record({ key: fc.constant(key), text: mutationsOf(value) })),
          fresh: fc.boolean(),
        });
      });
    fc.assert(
      fc.property(changes, ({ original, change: { key, text }, fresh }) => {
        const keys = copyOf(original);
        const good = stateOf(keys);
        const before = entries(viewOf(good));
        const event = keys.put(key, text, '0');
        const state = fresh ? stateOf(keys) : good;
        if (!fresh) good.apply({ events: [event], revision: keys.revision });
        noPollution([...state.facts()]);
        fitForPeople(keyProblems(state, layout));
        const view = state.view();
        if (!view) {
          assert.ok(fresh && key === layout.config && state.unreadable.has(key));
          return;
        }
        noPollution(view);
        const isNamed = state.unreadable.has(key) || state.refusals.some(([refused]) => refused === key);
        if (isNamed && !fresh && !state.isRead(key))
          assert.deepEqual(entries(view), before, 'stays in force');
        const after = entries(view);
        const changed = [...new Set([...before.keys(), ...after.keys()])].filter(
          (name) => !isDeepStrictEqual(before.get(name), after.get(name)),
        );
        // Other names of the same node: its record or its public address may be what changed.
        if (key !== layout.config) assert.ok(changed.length <= 3, `${key}: ${changed}`);
        try {
          fitForPeople(composedState({ ...factsOf(plan), ...view, peers: view.nodes }).warnings);
        } catch (error) {
          // Its own configuration may contradict itself; the loop keeps what there is.
          assert.ok(error instanceof FlatnetError && error.code === 'CONFIG_INVALID', String(error));
        }
      }),
      { numRuns: 600 },
    );
  });
}

test('a VNI without a text of its own costs only its peer', () => {
  const plan = PLANS[0] ?? assert.fail();
  const [self, bad, ...others] = nodesOf(plan);
  assert.ok(self && bad);
  for (const vni of [{ toString: 1 }, { toString: null, valueOf: 1 }, [Object.create(null)], 'x\ny', null]) {
    const keys = storeOf(plan, []);
    const data = { VNI: vni, VtepMAC: '02:00:00:00:00:01' };
    const lease = encodeLease({ ...bad, backend: { type: 'vxlan', data: { 4: data, 6: data } } });
    keys.put(layout.lease(bad.subnets), lease);
    const { contributions, warnings } = composedState({
      ...factsOf(plan),
      peers: viewOf(stateOf(keys)).nodes,
    });
    fitForPeople(warnings);
    assert.match(warnings.map(problemText).join('\n'), /^node1: uses VNI .*, this node 1/m);
    for (const { name } of others) {
      const own = contributions.find(({ owner }) => owner.part === 'peer' && owner.name === name);
      assert.ok(own?.items.some(({ kind }) => kind === 'route'));
    }
  }
});

test('a mutated block, handle, affinity or IPAM configuration is used or named, and costs only itself', () => {
  const ipam = new BlockKeys('/net');
  const block = (i: number): Block => ({
    cidr: parseCidr(`10.0.0.${i * 64}/26`),
    node: 'one',
    sequence: 1_700_000_000_000,
    changed: 1_700_000_000,
    allocations: new Map([[3, { handle: 'h', node: 'one', pod: 'p', namespace: 'd', sequence: 7, at: 9 }]]),
    released: new Map([[5, 1_700_000_000]]),
  });
  const keys = new Keys();
  for (const i of [0, 1, 2]) {
    keys.put(ipam.block(block(i).cidr), encodeBlock(block(i)), '0');
    keys.put(ipam.affinity('one', block(i).cidr), 'confirmed', '0');
    const addresses = [{ ip: '10.0.0.3', block: '10.0.0.0/26' }] as never;
    keys.put(ipam.handle(`h${i}`), encodeHandle({ node: 'one', addresses }), '0');
  }
  keys.put(`${ipam.config}`, encodeConfig(DEFAULT_IPAM_CONFIG), '0');
  const items = [...keys.items.values()];
  const good = snapshotOf(items, ipam);
  assert.deepEqual(good.unreadable, []);
  const change = fc.constantFrom(...items).chain((item) => {
    const valid = item.value.startsWith('{') ? item.value : JSON.stringify(item.value);
    return mutationsOf(valid).map((value) => ({ ...item, value }));
  });
  fc.assert(
    fc.property(change, (item) => {
      const snapshot = snapshotOf(
        items.map((each) => (each.key === item.key ? item : each)),
        ipam,
      );
      noPollution(snapshot);
      for (const { value } of snapshot.blocks) noPollution([...value.allocations, ...value.released]);
      const count = ({ blocks, affinities, handles }: typeof snapshot): number =>
        blocks.length + affinities.length + handles.size;
      const isConfig = item.key === ipam.config;
      assert.deepEqual(
        snapshot.unreadable.map(({ object }) => object),
        count(snapshot) < count(good) || (isConfig && snapshot.unreadable.length > 0) ? [item.key] : [],
      );
      assert.ok(count(snapshot) >= count(good) - 1);
      const others = ({ blocks }: typeof snapshot) =>
        blocks.filter(({ value }) => ipam.block(value.cidr) !== item.key);
      assert.deepEqual(others(snapshot), others(good));
    }),
    { numRuns: 3000 },
  );
});
