import assert from 'node:assert/strict';
import { mock, test } from 'node:test';
import { Recomputation } from '../../src/agent/recomputation.ts';
import { settled } from '../async/fake-time.ts';

/**
 * A recomputation on fake timers: `advance` lets milliseconds pass and returns how often it computed.
 * `takes`: milliseconds of a computation.
 */
function recomputation(t: { after: (end: () => void) => void }, takes = 0) {
  mock.timers.enable({ apis: ['setTimeout'] });
  let now = 0;
  const clock = mock.method(performance, 'now', () => now);
  t.after(() => {
    mock.timers.reset();
    clock.mock.restore();
  });
  let computed = 0;
  const it = new Recomputation(() => {
    computed++;
    now += takes;
  });
  const advance = async (ms: number): Promise<number> => {
    const before = computed;
    for (let i = 0; i < ms; i++) {
      now++;
      mock.timers.tick(1);
      await settled();
    }
    return computed - before;
  };
  return { it, advance, count: () => computed };
}

test('the first change is computed at once, those of a burst together', async (t) => {
  const { it, advance } = recomputation(t);
  it.request();
  it.request();
  assert.equal(await advance(1), 1);
  it.request();
  it.request();
  assert.equal(await advance(8), 0);
  assert.equal(await advance(2), 1);
  assert.equal(await advance(100), 0);
});

test('a run computes first what is due, unless that is only new pods', async (t) => {
  const { it, advance, count } = recomputation(t);
  it.request();
  it.catchUp();
  assert.equal(count(), 1);
  it.requestForPods('added');
  it.catchUp();
  assert.equal(count(), 1);
  it.requestForPods('removed');
  it.catchUp();
  assert.equal(count(), 2);
  assert.equal(await advance(100), 0);
  it.requestForPods('added');
  it.request();
  it.catchUp();
  assert.equal(count(), 3);
});

test('facts that take long to compute, and change all the time, leave the agent most of its time', async (t) => {
  const takes = 100;
  const { it, advance } = recomputation(t, takes);
  let computing = 0;
  const idle = 3000;
  for (let i = 0; i < idle; i++) {
    it.request();
    if (i % 7 === 0) it.requestForPods('removed');
    // Runs come whenever something else happens.
    it.catchUp();
    computing += takes * (await advance(1));
  }
  assert.ok(computing > 0.4 * idle && computing <= 0.51 * idle, `${computing} ms, besides ${idle}`);
});

test('who needs to know of everything waits for the next computation, and for none if nothing is due', async (t) => {
  const { it, advance, count } = recomputation(t, 100);
  let settled = 0;
  const settle = () => void it.settled().then(() => settled++);
  settle();
  it.request();
  await advance(1);
  assert.deepEqual([settled, count()], [1, 1]);
  it.requestForPods('added');
  settle();
  await advance(1);
  assert.deepEqual([settled, count()], [2, 1]);
  it.request();
  settle();
  await advance(150);
  assert.deepEqual([settled, count()], [2, 1]);
  await advance(100);
  assert.deepEqual([settled, count()], [3, 2]);
});

test('nothing is computed once it is stopped', async (t) => {
  const { it, advance } = recomputation(t);
  it.request();
  it.stop();
  it.requestForPods('removed');
  assert.equal(await advance(100), 0);
});
