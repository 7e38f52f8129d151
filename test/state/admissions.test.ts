import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Queue } from '../../src/async/queue.ts';
import { type Admission, Admissions } from '../../src/state/admissions.ts';

const named = (name: string): Admission => ({
  contribution: { owner: { part: 'pod', name }, items: [], warnings: [] },
  urgent: [],
});

/** Admissions on a queue whose first job ends when told; `turns`: who was admitted together. */
function busy(admit: (names: readonly string[]) => Promise<void> = async () => {}) {
  const turns: string[][] = [];
  const queue = new Queue();
  const { promise, resolve } = Promise.withResolvers<void>();
  void queue.run(() => promise);
  const admissions = new Admissions(queue, async (all) => {
    const names = all.map(({ contribution }) => contribution.owner.name);
    turns.push(names);
    await admit(names);
    return names.length;
  });
  return { queue, admissions, turns, free: resolve };
}

test('admissions that wait are made together, later ones in a later turn', async () => {
  const { queue, admissions, turns, free } = busy(async (names) => {
    if (names.includes('a')) later = admissions.run(named('c'));
  });
  let later: Promise<number> | undefined;
  const first = [admissions.run(named('a')), admissions.run(named('b'))];
  free();
  assert.deepEqual(await Promise.all(first), [2, 2]);
  assert.equal(await later, 1);
  assert.deepEqual(turns, [['a', 'b'], ['c']]);
  await queue.idle();
});

test('calls whose data has arrived come as far as their own admission first', async () => {
  const { admissions, turns, free } = busy();
  free();
  const called = Array.from({ length: 3 }, async (_, i) => {
    await new Promise((resolve) => setImmediate(resolve));
    return admissions.run(named(`pod${i}`));
  });
  assert.deepEqual(await Promise.all(called), [3, 3, 3]);
  assert.deepEqual(turns, [['pod0', 'pod1', 'pod2']]);
});

test('one that is withdrawn before its turn is never made, and costs the others nothing', async () => {
  const { admissions, turns, free } = busy();
  const late = new AbortController();
  const withdrawn = assert.rejects(admissions.run(named('late'), late.signal), /too late/);
  const other = admissions.run(named('other'));
  late.abort(new Error('too late'));
  free();
  assert.equal(await other, 1);
  await withdrawn;
  await assert.rejects(admissions.run(named('later'), late.signal), /too late/);
  assert.deepEqual(turns, [['other']]);
});

test('one that is withdrawn after its turn began is answered as the others are', async () => {
  const late = new AbortController();
  const { admissions, free } = busy(async () => late.abort());
  const admitted = admissions.run(named('a'), late.signal);
  free();
  assert.equal(await admitted, 1);
});

test('a turn that fails tells all of its admissions, and the next one is made nevertheless', async () => {
  const { admissions, turns, free } = busy(async (names) => {
    if (names.includes('a')) throw new Error('refused');
  });
  const failed = ['a', 'b'].map((name) => assert.rejects(admissions.run(named(name)), /refused/));
  free();
  await Promise.all(failed);
  assert.equal(await admissions.run(named('c')), 1);
  assert.deepEqual(turns, [['a', 'b'], ['c']]);
});
