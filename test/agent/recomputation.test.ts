import assert from 'node:assert/strict';
import { mock, test } from 'node:test';
import { Recomputation } from '../../src/agent/recomputation.ts';
import { settled } from '../async/fake-time.ts';

/** A recomputation on fake timers: `advance` lets milliseconds pass and returns how often it computed. */
function recomputation(t: { after: (end: () => void) => void }) {
  mock.timers.enable({ apis: ['setTimeout'] });
  let now = 0;
  const clock = mock.method(performance, 'now', () => now);
  t.after(() => {
    mock.timers.reset();
    clock.mock.restore();
  });
  let computed = 0;
  const it = new Recomputation(() => void computed++);
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

test('nothing is computed once it is stopped', async (t) => {
  const { it, advance } = recomputation(t);
  it.request();
  it.stop();
  it.requestForPods('removed');
  assert.equal(await advance(100), 0);
});
