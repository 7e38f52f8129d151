import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Handover } from '../../src/agent/handover.ts';
import type { Computed } from '../../src/agent/loop.ts';
import { type Network, readNetwork } from '../../src/cluster/network.ts';
import type { Node } from '../../src/cluster/node.ts';
import { SILENT } from '../../src/log.ts';
import type { Formers } from '../../src/store/view-file.ts';
import { factsOf, nodesOf } from '../backends/cluster.ts';
import { eventually } from '../store/servers.ts';

const LINGER = 50;
/** Interval at which it checks that the new backend is in place, in milliseconds. */
const POLL = 500;

const formersOf = (...types: string[]): Formers => new Map(types.map((type) => [type, network(type)]));
const network = (type: string): Network =>
  readNetwork({ Network: '10.244.0.0/16', wiring: 'routed', Backend: { Type: type } });
const names = (nodes: readonly Node[]): string => nodes.map(({ name }) => name).join(' ');

/** Waits until a step has been taken. */
const until = (done: readonly string[], step: string): Promise<unknown> =>
  eventually(async () => done.includes(step));

/** A handover, the steps it takes in order, and the loop it watches. */
function handover(t: TestContext) {
  const done: string[] = [];
  const loop = {
    computed: undefined as Computed | undefined,
    problem: undefined as string | undefined,
    keepFormer: ({ backend }: Network, nodes: readonly Node[]) => {
      if (backend.type === 'bgp') throw new Error('its companion is not known');
      done.push([`keep ${backend.type}`, ...(nodes.length > 0 ? [names(nodes)] : [])].join(' for '));
    },
    keepRemains: () => done.push('keep remains'),
    dropFormerPeers: (late: ReadonlyMap<string, string>) =>
      done.push(['send no more', ...(late.size > 0 ? ['but to', ...late.keys()] : [])].join(' ')),
    dropFormer: () => done.push('drop'),
  };
  const companions = {
    unready: undefined as string | undefined,
    use: async (backend: string) => void done.push(`use ${backend}`),
    resume: async () => {},
    endOthers: async (options?: { readonly keepReceivers?: boolean }) =>
      void done.push(options?.keepReceivers ? 'end' : 'end all'),
  };
  const stop = new AbortController();
  t.after(() => stop.abort());
  const options = { log: SILENT, signal: stop.signal, linger: LINGER };
  /** Makes the loop compute the desired state for this backend. */
  const compute = (type: 'vxlan' | 'host-gw' | 'bgp'): void => {
    const plan = { size: 1, families: [4], networks: 1, backend: { Type: 'vxlan' } } as const;
    const { resources, network: any, ...facts } = factsOf(plan);
    assert.ok(resources);
    loop.computed = {
      facts: { ...facts, network: { ...any, backend: { type, options: {} } }, resources },
      desired: { contributions: [], warnings: [], mtu: 1500 },
    };
  };
  /** Makes the cluster that of the computed state and of one peer with each of these backends. */
  const peersWith = (...types: string[]): void => {
    const { facts, desired } = loop.computed ?? assert.fail();
    const [node] = nodesOf({ size: 1, families: [4], networks: 1, backend: { Type: 'vxlan' } });
    assert.ok(node);
    const peers = types.map((type, i) => ({ ...node, name: `peer${i}`, backend: { type, data: {} } }));
    loop.computed = { facts: { ...facts, peers: [node, ...peers] }, desired };
  };
  return { handover: new Handover(companions, loop, options), companions, loop, compute, peersWith, done };
}

test('remains of earlier agents are removed some time after a start', async (t) => {
  const { handover: it, compute, done } = handover(t);
  compute('vxlan');
  await it.follow(network('vxlan'), [], true);
  assert.deepEqual(done.splice(0), ['use vxlan']);
  await until(done, 'end all');
  assert.deepEqual(done.splice(0), ['end', 'send no more', 'drop', 'end all']);
  await it.follow(network('vxlan'));
  await sleep(4 * LINGER);
  assert.deepEqual(done, []);
});

test('after a change of backend both stand side by side, then the former one ends', async (t) => {
  const { handover: it, compute, done } = handover(t);
  compute('vxlan');
  await it.follow(network('vxlan'), [], true);
  await until(done, 'end all');
  done.splice(0);
  await it.follow(
    network('host-gw'),
    nodesOf({ size: 2, families: [4], networks: 1, backend: { Type: 'host-gw' } }),
  );
  assert.deepEqual(done.splice(0), ['keep vxlan for node0 node1', 'use host-gw']);
  compute('host-gw');
  await until(done, 'end all');
  assert.deepEqual(done, ['end', 'send no more', 'drop', 'end all']);
});

test('nothing ends while the new backend cannot be computed, is not ready, or the kernel refuses it', async (t) => {
  const { handover: it, companions, compute, loop, done } = handover(t);
  compute('vxlan');
  await it.follow(network('vxlan'), [], true);
  await it.follow(network('host-gw'));
  await sleep(POLL + 3 * LINGER);
  assert.ok(!done.includes('end'));
  compute('host-gw');
  loop.problem = 'the kernel refuses it';
  await sleep(POLL + 3 * LINGER);
  assert.ok(!done.includes('end'));
  loop.problem = undefined;
  companions.unready = 'no route in the cloud yet';
  await sleep(POLL + 3 * LINGER);
  assert.ok(!done.includes('end'));
  companions.unready = undefined;
  await until(done, 'end all');
  assert.deepEqual(done.slice(-4), ['end', 'send no more', 'drop', 'end all']);
});

test('the former backend stays for peers that still use it, until the last one has switched or gone', async (t) => {
  const { handover: it, compute, peersWith, done } = handover(t);
  compute('vxlan');
  await it.follow(network('vxlan'), [], true);
  await until(done, 'end all');
  await it.follow(network('host-gw'));
  done.splice(0);
  compute('host-gw');
  peersWith('vxlan', 'host-gw', 'vxlan');
  await until(done, 'send no more but to peer0 peer2');
  assert.deepEqual([...new Set(done.splice(0))], ['send no more but to peer0 peer2']);
  peersWith('vxlan', 'host-gw');
  await until(done, 'send no more but to peer0');
  assert.deepEqual([...new Set(done.splice(0))], ['send no more but to peer0']);
  peersWith('host-gw', 'host-gw');
  await until(done, 'end all');
  assert.deepEqual(done, ['end', 'send no more', 'drop', 'end all']);
});

test('after two changes in a row, peers that missed both keep the first backend, and those that missed one the second', async (t) => {
  const { handover: it, compute, peersWith, done } = handover(t);
  compute('vxlan');
  await it.follow(network('vxlan'), [], true);
  await it.follow(network('host-gw'));
  await it.follow(network('bgp'));
  compute('bgp');
  peersWith('vxlan', 'host-gw', 'bgp');
  await until(done, 'send no more but to peer0 peer1');
  assert.deepEqual(
    [...new Set(done.splice(0))],
    [
      ...['use vxlan', 'keep vxlan', 'use host-gw', 'keep host-gw', 'use bgp'],
      'send no more but to peer0 peer1',
    ],
  );
  peersWith('vxlan', 'bgp', 'bgp');
  await until(done, 'send no more but to peer0');
  assert.deepEqual([...new Set(done.splice(0))], ['send no more but to peer0']);
  peersWith('bgp', 'bgp', 'bgp');
  await until(done, 'end all');
  assert.deepEqual(done, ['end', 'send no more', 'drop', 'end all']);
});

test('a backend that does not exist changes nothing', async (t) => {
  const { handover: it, compute, done } = handover(t);
  compute('vxlan');
  await it.follow(network('vxlan'), [], true);
  await until(done, 'end all');
  done.splice(0);
  await it.follow(network('vxlam'));
  await it.follow(network('vxlan'));
  await sleep(4 * LINGER);
  assert.deepEqual(done, []);
});

const TWO = nodesOf({ size: 2, families: [4], networks: 1, backend: { Type: 'vxlan' } });
const with1 = (type: string): readonly Node[] =>
  TWO.map((node, i) => (i === 1 ? { ...node, backend: { type, data: {} } } : node));

test('what an earlier agent had not ended stays, before anything is removed, and is remembered until then', async (t) => {
  const { handover: it, compute, peersWith, done } = handover(t);
  let changes = 0;
  it.on('changed', () => changes++);
  it.remember(formersOf('host-gw', 'vxlan', 'nonsense', 'bgp'));
  await it.follow(network('vxlan'));
  compute('vxlan');
  peersWith('host-gw', 'vxlan');
  await it.follow(network('vxlan'), with1('host-gw'), true);
  assert.deepEqual(done.splice(0), [
    ...['use vxlan', 'keep host-gw for node0 node1', 'keep remains', 'use vxlan'],
  ]);
  assert.deepEqual(it.formers, formersOf('host-gw', 'bgp'));
  await it.follow(network('vxlan'), with1('host-gw'), true);
  await until(done, 'send no more but to peer0');
  assert.deepEqual([...new Set(done.splice(0))], ['send no more but to peer0']);
  peersWith('vxlan');
  await until(done, 'end all');
  assert.deepEqual(done, ['end', 'send no more', 'drop', 'end all']);
  assert.deepEqual([it.formers, changes], [new Map(), 1]);
});

test('nothing that an earlier agent had not ended is, before the store has told of all nodes', async (t) => {
  const { handover: it, compute, done } = handover(t);
  it.remember(formersOf('host-gw'));
  compute('vxlan');
  await it.follow(network('vxlan'), with1('host-gw'));
  await sleep(POLL + 3 * LINGER);
  assert.deepEqual(done.splice(0), ['use vxlan']);
  await it.follow(network('vxlan'), with1('host-gw'), true);
  assert.deepEqual(done.splice(0), ['keep host-gw for node0 node1', 'use vxlan']);
});

test('an agent that remembers nothing keeps what the kernel has, if a node uses another backend', async (t) => {
  for (const [type, kept] of [
    ['host-gw', ['keep remains', 'use vxlan']],
    ['vxlan', []],
    ['nonsense', []],
  ] as const) {
    const { handover: it, compute, done } = handover(t);
    await it.follow(network('vxlan'));
    await it.follow(network('vxlan'), with1(type), true);
    assert.deepEqual(done.splice(0), ['use vxlan', ...kept]);
    assert.deepEqual([...it.formers], kept.length > 0 ? [[type, undefined]] : []);
    compute('vxlan');
    await until(done, 'end all');
    assert.deepEqual(done, ['end', 'send no more', 'drop', 'end all'], type);
    assert.deepEqual(it.formers, new Map());
  }
});

test('one that remembers that there was none does not: the node has had another backend for long', async (t) => {
  const { handover: it, done } = handover(t);
  it.remember(new Map());
  await it.follow(network('vxlan'));
  await it.follow(network('vxlan'), with1('host-gw'), true);
  assert.deepEqual(done, ['use vxlan']);
});

test('what an agent cannot know any more is kept by the next one, too, which remembers that', async (t) => {
  const { handover: it, done } = handover(t);
  await it.follow(network('vxlan'));
  await it.follow(network('vxlan'), with1('host-gw'), true);
  await it.follow(network('bgp'), with1('host-gw'), true);
  assert.deepEqual([...it.formers.keys()], ['host-gw', 'vxlan']);
  const { handover: next, peersWith, compute, done: later } = handover(t);
  next.remember(it.formers);
  await next.follow(network('bgp'));
  compute('bgp');
  await next.follow(network('bgp'), with1('host-gw'), true);
  assert.deepEqual(next.formers, it.formers);
  assert.deepEqual(later.splice(0), ['use bgp', 'keep remains', 'keep vxlan for node0 node1', 'use bgp']);
  peersWith('host-gw');
  await until(later, 'send no more but to peer0');
  assert.deepEqual([...new Set(later)], ['send no more but to peer0']);
  assert.ok(done.includes('keep remains'));
});

test('two changes while an agent is down: it knows the first backend, and by the nodes that there was a second', async (t) => {
  const { handover: it, compute, peersWith, done } = handover(t);
  it.remember(new Map());
  await it.follow(network('vxlan'));
  compute('vxlan');
  await it.follow(network('bgp'), with1('host-gw'), true);
  assert.deepEqual(done.splice(0), ['use vxlan', 'keep remains', 'keep vxlan for node0 node1', 'use bgp']);
  assert.deepEqual(it.formers, new Map([['host-gw', undefined], ...formersOf('vxlan')]));
  compute('bgp');
  peersWith('host-gw', 'bgp');
  await until(done, 'send no more but to peer0');
  assert.deepEqual([...new Set(done.splice(0))], ['send no more but to peer0']);
});
