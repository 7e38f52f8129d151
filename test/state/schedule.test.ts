import assert from 'node:assert/strict';
import { mock, test } from 'node:test';
import { Schedule } from '../../src/state/schedule.ts';
import { settled } from '../async/fake-time.ts';

/** A schedule on fake timers: `advance` lets milliseconds pass and says how many runs that brought. */
function schedule(t: { after: (end: () => void) => void }) {
  mock.timers.enable({ apis: ['setTimeout', 'setInterval'] });
  t.after(() => mock.timers.reset());
  let runs = 0;
  const schedule = new Schedule(() => void runs++, { interval: 300, debounce: 10 });
  const advance = async (ms: number): Promise<number> => {
    const before = runs;
    for (let i = 0; i < ms; i++) mock.timers.tick(1);
    await settled();
    return runs - before;
  };
  return { schedule, advance };
}

test('nothing is due before the start', async (t) => {
  const { schedule: one, advance } = schedule(t);
  one.now();
  one.soon();
  one.retry();
  assert.equal(await advance(1000), 0);
  one.start(() => {});
  assert.equal(await advance(1), 1);
});

test('causes of a burst are one run, the earliest decides when', async (t) => {
  const { schedule: one, advance } = schedule(t);
  one.start(() => {});
  await advance(1);
  one.soon();
  one.soon(50);
  assert.equal(await advance(9), 0);
  one.soon();
  assert.equal(await advance(1), 1);
  one.soon(50);
  assert.equal(await advance(49), 0);
  one.now();
  assert.equal(await advance(1), 1);
  assert.equal(await advance(100), 0);
});

test('each retry waits twice as long, never longer than the interval, until a run succeeds', async (t) => {
  const { schedule: one, advance } = schedule(t);
  one.start(() => {});
  await advance(1);
  for (const wait of [100, 200, 300, 300]) {
    one.retry();
    assert.equal(await advance(wait - 1), 0, `${wait} ms`);
    assert.equal(await advance(1), 1, `${wait} ms`);
  }
  one.succeeded();
  one.retry();
  assert.equal(await advance(100), 1);
});

test('ticks at every interval until it is stopped; then nothing is due any more', async (t) => {
  const { schedule: one, advance } = schedule(t);
  let ticks = 0;
  one.start(() => ticks++);
  await advance(900);
  assert.equal(ticks, 3);
  one.stop();
  one.now();
  assert.equal(await advance(900), 0);
  assert.equal(ticks, 3);
});
