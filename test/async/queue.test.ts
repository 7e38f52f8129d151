import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { pause } from '../../src/async/pause.ts';
import { KeyedQueue, Queue } from '../../src/async/queue.ts';
import { onFakeTime } from './fake-time.ts';

const job = fc.record({
  key: fc.constantFrom('a', 'b', 'c'),
  /** Milliseconds. */
  asked: fc.nat(20),
  takes: fc.nat(5),
  fails: fc.boolean(),
  /** When the caller gives up. */
  aborts: fc.option(fc.nat(30), { nil: undefined }),
});

test('one at a time, in order, each with its own result; an aborted job that has not started is skipped', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(job, { maxLength: 12 }), async (jobs) => {
      await onFakeTime(async (advance) => {
        const queues = new KeyedQueue();
        const begun: number[] = [];
        const running = new Map<string, number>();
        const ends = jobs.map(async ({ key, asked, takes, fails, aborts }, i) => {
          await pause(asked);
          const giveUp = new AbortController();
          const given = aborts === undefined ? undefined : pause(aborts).then(() => giveUp.abort('given up'));
          const work = async (): Promise<number> => {
            assert.equal(running.get(key) ?? 0, 0, 'two at once');
            running.set(key, 1);
            begun.push(i);
            await pause(takes);
            running.set(key, 0);
            if (fails) throw new Error(`failed ${i}`);
            return i;
          };
          const end = await queues.run(key, work, giveUp.signal).then(
            (value) => ({ value }),
            (error: unknown) => ({ error }),
          );
          await given;
          return end;
        });
        await advance(150);
        for (const [i, end] of (await Promise.all(ends)).entries()) {
          if (!begun.includes(i)) assert.deepEqual(end, { error: 'given up' });
          else if (jobs[i]?.fails)
            assert.match(String('error' in end && end.error), new RegExp(`failed ${i}$`));
          else assert.deepEqual(end, { value: i });
        }
        for (const key of ['a', 'b', 'c']) {
          const asked = begun.filter((i) => jobs[i]?.key === key).map((i) => jobs[i]?.asked ?? 0);
          assert.deepEqual(
            asked,
            asked.toSorted((a, b) => a - b),
            'in the order they came',
          );
          assert.equal(queues.isBusy(key), false);
        }
      });
    }),
    { numRuns: 60 },
  );
});

test('aborting a running job changes nothing: the next one waits, and the caller gets the job’s result', async () => {
  await onFakeTime(async (advance) => {
    const queue = new Queue();
    const giveUp = new AbortController();
    const log: string[] = [];
    const first = queue.run(async () => {
      await pause(10);
      log.push('first');
      return 1;
    }, giveUp.signal);
    const second = queue.run(async () => log.push('second'));
    await advance(5);
    giveUp.abort();
    await advance(10);
    assert.deepEqual([await first, await second, log], [1, 2, ['first', 'second']]);
  });
});

test('a job that throws synchronously fails like any other', async () => {
  const queue = new Queue();
  const thrown = queue.run(() => {
    throw new Error('at once');
  });
  await assert.rejects(thrown, /at once/);
  assert.equal(await queue.run(async () => 'next'), 'next');
});

test('idle resolves when all jobs are done, including those added meanwhile', async () => {
  await onFakeTime(async (advance) => {
    const queue = new Queue();
    let done = 0;
    const work = async (): Promise<void> => {
      await pause(5);
      if (++done < 3) void queue.run(work);
    };
    void queue.run(work);
    const idle = queue.idle().then(() => done);
    await advance(20);
    assert.equal(await idle, 3);
    assert.equal(queue.length, 0);
  });
});
