import assert from 'node:assert/strict';
import { mock, test } from 'node:test';
import fc from 'fast-check';
import { forEachLimited } from '../../src/async/each.ts';
import { pause } from '../../src/async/pause.ts';
import { poll } from '../../src/async/poll.ts';
import { onFakeTime } from './fake-time.ts';

test('polling ends with the first answer, on timeout, or on abort', async () => {
  await onFakeTime(async (advance) => {
    let now = 0;
    const clock = mock.method(performance, 'now', () => now);
    const pass = async (ms: number): Promise<void> => {
      for (; ms > 0; ms--, now++) await advance(1);
    };
    try {
      let asked = 0;
      const third = poll(async () => (++asked === 3 ? 'here' : undefined), { every: 10, patience: 100 });
      await pass(30);
      assert.deepEqual([await third, asked], ['here', 3]);
      const never = poll(async () => undefined, { every: 10, patience: 25 });
      await pass(40);
      assert.equal(await never, undefined);
      const end = new AbortController();
      const ended = assert.rejects(
        poll(async () => undefined, { every: 10, patience: 1000, signal: end.signal }),
        /the end/,
      );
      await pass(15);
      end.abort(new Error('the end'));
      await ended;
    } finally {
      clock.mock.restore();
    }
  });
});

test('at most `limit` at a time; after a failure nothing more starts, and running work finishes first', async () => {
  const item = fc.record({ takes: fc.nat(5), fails: fc.boolean() });
  await fc.assert(
    fc.asyncProperty(
      fc.array(item, { maxLength: 8 }),
      fc.integer({ min: 1, max: 4 }),
      async (items, limit) => {
        await onFakeTime(async (advance) => {
          let running = 0;
          let now = 0;
          let failed = Number.POSITIVE_INFINITY;
          const begun: number[] = [];
          const all = forEachLimited(limit, [...items.entries()], async ([i, { takes, fails }]) => {
            assert.ok(++running <= limit && now <= failed);
            begun.push(i);
            await pause(takes);
            running--;
            if (fails) failed = Math.min(failed, now);
            if (fails) throw new Error(`${i}`);
          }).then(
            () => undefined,
            (error: Error) => error.message,
          );
          for (; now < 60; now++) await advance(1);
          const error = await all;
          assert.equal(running, 0);
          assert.equal(
            error === undefined,
            begun.length === items.length && !items.some(({ fails }) => fails),
          );
          assert.ok(error === undefined || items[Number(error)]?.fails);
        });
      },
    ),
    { numRuns: 50 },
  );
});
