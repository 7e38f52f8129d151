import assert from 'node:assert/strict';
import { test } from 'node:test';
import { noteTroubles, Troubles } from '../../src/agent/troubles.ts';
import type { Problem } from '../../src/problem.ts';

const problem = (what: string): Problem => ({ id: 'peer-unreachable', severity: 'warning', what });

test('a problem is news once it has lasted, and again after it was gone', () => {
  const troubles = new Troubles(10);
  const a = problem('node1 is unreachable');
  assert.deepEqual(troubles.news([a], 0), []);
  assert.deepEqual(troubles.news([a], 9), []);
  assert.deepEqual(troubles.news([a], 10), [a]);
  assert.deepEqual(troubles.news([a], 1000), []);
  assert.deepEqual(troubles.news([], 1010), []);
  assert.deepEqual(troubles.news([a], 1020), []);
  assert.deepEqual(troubles.news([a], 1030), [a]);
});

test('a problem that comes and goes faster is none', () => {
  const troubles = new Troubles(10);
  for (let now = 0; now < 100; now += 5) {
    assert.deepEqual(troubles.news(now % 10 === 0 ? [problem('x')] : [], now), []);
  }
});

test('another count is the same problem, another node or address is not', () => {
  const troubles = new Troubles(0);
  assert.equal(troubles.news([problem('10 packets from 10.0.0.1 to node1')], 0).length, 1);
  assert.deepEqual(troubles.news([problem('11 packets from 10.0.0.1 to node1')], 1), []);
  assert.equal(troubles.news([problem('11 packets from 10.0.0.2 to node1')], 2).length, 1);
  assert.equal(troubles.news([problem('11 packets from 10.0.0.2 to node2')], 3).length, 1);
  assert.equal(troubles.news([problem('x'), problem('x')], 4).length, 1);
});

test('a pod’s part in a problem is news of its own, and so is its successor’s', () => {
  const troubles = new Troubles(0);
  const of = (uid: string) => ({ ...problem('x'), pod: { namespace: 'default', name: 'web', uid } });
  assert.equal(troubles.news([problem('x'), of('1')], 0).length, 2);
  assert.deepEqual(troubles.news([problem('x'), of('1')], 1), []);
  assert.deepEqual(troubles.news([problem('x'), of('2')], 2), [of('2')]);
});

test('notes of pods say what is wrong with each, if the runtime named it', async () => {
  const notes: unknown[] = [];
  const stop = new AbortController();
  const note = (...args: unknown[]) => notes.push(args);
  const pods = [
    { pod: { namespace: 'default', name: 'web', uid: '1' }, what: 'its address is lost' },
    { pod: {}, what: 'its address is lost, too' },
  ];
  const problems = () => {
    if (notes.length > 0) stop.abort();
    return [{ ...problem('addresses are lost'), fix: 'delete the pods', pods }];
  };
  await noteTroubles({ note }, { node: 'node1', problems, signal: stop.signal, interval: 1, patience: 0 });
  const reason = 'PeerUnreachable';
  assert.deepEqual(notes, [
    ['node1', { reason, message: 'addresses are lost; delete the pods' }],
    ['node1', { reason, message: 'its address is lost; delete the pods' }, pods[0]?.pod],
  ]);
});

test('notes have the name of the problem in CamelCase, and its text', async () => {
  const notes: unknown[] = [];
  const stop = new AbortController();
  const note = (node: string, trouble: object) => {
    notes.push([node, trouble]);
    stop.abort();
  };
  const problems = () => [{ ...problem('node2 is unreachable'), cause: 'no route' }];
  const options = { node: 'node1', problems, signal: stop.signal, interval: 1, patience: 0 };
  await noteTroubles({ note }, options);
  assert.deepEqual(notes, [
    ['node1', { reason: 'PeerUnreachable', message: 'node2 is unreachable: no route' }],
  ]);
});
