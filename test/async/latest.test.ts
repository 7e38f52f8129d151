import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Latest } from '../../src/async/latest.ts';
import { pause } from '../../src/async/pause.ts';
import { SILENT } from '../../src/log.ts';
import { onFakeTime, recorder } from './fake-time.ts';

const plan = fc.record({
  pushes: fc.array(fc.nat(60), { minLength: 1, maxLength: 12 }).map((times) => times.sort((a, b) => a - b)),
  gather: fc.nat(10),
  rest: fc.nat(10),
  takes: fc.nat(10),
});

test('one run at a time, never an older value after a newer one, and the last value always runs', async () => {
  await fc.assert(
    fc.asyncProperty(plan, async ({ pushes, gather, rest, takes }) => {
      await onFakeTime(async (advance) => {
        let now = 0;
        const runs: { value: number; begin: number; end: number }[] = [];
        let running = 0;
        const latest = new Latest<number>(
          'count',
          async (value) => {
            assert.equal(running++, 0);
            const begin = now;
            await pause(takes);
            running--;
            runs.push({ value, begin, end: now });
          },
          { log: SILENT, gather, rest },
        );
        for (; now < 100; now++) {
          for (const [i, at] of pushes.entries()) if (at === now) latest.push(i);
          await advance(1);
        }
        assert.equal(runs.at(-1)?.value, pushes.length - 1);
        for (const [i, { value, begin }] of runs.entries()) {
          assert.ok(begin >= (pushes[value] ?? 0), 'not before it was pushed');
          const before = runs[i - 1];
          if (!before) continue;
          assert.ok(value > before.value);
          assert.ok(begin >= before.end + rest);
        }
        assert.equal(latest.busy, false);
      });
    }),
    { numRuns: 60 },
  );
});

test('a newer value interrupts a run that is waiting, and that is no failure', async () => {
  await onFakeTime(async (advance) => {
    const { log, lines } = recorder();
    const done: string[] = [];
    const latest = new Latest<string>(
      'wait',
      async (value, superseded) => {
        if (!(await pause(1000, superseded))) throw superseded.reason;
        done.push(value);
      },
      { log },
    );
    latest.push('old');
    await advance(10);
    latest.push('new');
    await advance(1010);
    assert.deepEqual([done, lines], [['new'], []]);
  });
});

test('a failure is logged, each new reason once, and the next value runs', async () => {
  await onFakeTime(async (advance) => {
    const { log, lines } = recorder();
    const latest = new Latest<string>('write', (reason) => Promise.reject(new Error(reason)), { log });
    for (const reason of ['disk full', 'disk full', 'no such file']) {
      latest.push(reason);
      await advance(1);
    }
    const told = lines.map(({ level, fields }) => [level, 'what' in fields && fields.what]);
    assert.deepEqual(told, [
      ['warn', 'write'],
      ['warn', 'write'],
    ]);
  });
});

test('disposing runs a waiting value at once; an abort drops it', async () => {
  for (const how of ['dispose', 'abort'] as const) {
    await onFakeTime(async (advance) => {
      const end = new AbortController();
      const done: number[] = [];
      const latest = new Latest<number>('keep', async (value) => done.push(value), {
        log: SILENT,
        signal: end.signal,
        gather: 1000,
        rest: 1000,
      });
      latest.push(1);
      await advance(1);
      if (how === 'abort') end.abort();
      else await latest[Symbol.asyncDispose]();
      latest.push(2);
      await latest.idle();
      assert.deepEqual(done, how === 'abort' ? [] : [1, 2]);
    });
  }
});
