import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { background } from '../../src/async/background.ts';
import { Backoff } from '../../src/async/backoff.ts';
import { aborted, pause } from '../../src/async/pause.ts';
import { untilDone } from '../../src/async/until-done.ts';
import { FlatnetError } from '../../src/error.ts';
import { onFakeTime, recorder, settled } from './fake-time.ts';

test('waits double from the first to the longest, within their jitter', () => {
  fc.assert(
    fc.property(
      fc.record({
        first: fc.integer({ min: 1, max: 1000 }),
        longest: fc.integer({ min: 1000, max: 10_000 }),
        jitter: fc.double({ min: 0, max: 1, noNaN: true }),
        chance: fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
      }),
      ({ first, longest, jitter, chance }) => {
        const backoff = new Backoff({ first, longest, jitter, random: () => chance });
        const waits = Array.from({ length: 20 }, () => backoff.next());
        const wanted = waits.map((_, i) => Math.min(first * 2 ** i, longest) * (1 - jitter * chance));
        assert.deepEqual(waits, wanted);
        backoff.startOver();
        assert.deepEqual([backoff.next(), backoff.next()], wanted.slice(0, 2));
        backoff.startOver();
        assert.equal(backoff.next(), wanted[2], 'only once');
        backoff.reset();
        assert.equal(backoff.next(), wanted[0]);
        backoff.startOver();
        assert.equal(backoff.next(), wanted[0]);
      },
    ),
  );
});

test('repeats until it succeeds, and reports each new reason once', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.constantFrom('down', 'refused'), { maxLength: 8 }), async (reasons) => {
      await onFakeTime(async (advance) => {
        const { log, lines } = recorder();
        const told: string[] = [];
        let tries = 0;
        const done = untilDone(
          'reach the store',
          async () => {
            const reason = reasons[tries++];
            if (reason !== undefined) throw new Error(reason);
            return 'reached';
          },
          {
            signal: new AbortController().signal,
            log,
            failed: (reason) => told.push(reason),
            backoff: new Backoff({ first: 1, longest: 4 }),
          },
        );
        await advance(40);
        assert.equal(await done, 'reached');
        assert.equal(tries, reasons.length + 1);
        assert.deepEqual(
          told,
          reasons.filter((reason, i) => reason !== reasons[i - 1]),
        );
        assert.equal(lines.length, told.length);
      });
    }),
    { numRuns: 40 },
  );
});

test('a hopeless error ends it immediately, and an abort at any time', async () => {
  await onFakeTime(async (advance) => {
    const { log } = recorder();
    const end = new AbortController();
    const taken = new FlatnetError('another machine is this node', { code: 'NAME_TAKEN' });
    const context = { signal: end.signal, log, hopeless: ['NAME_TAKEN'] as const };
    await assert.rejects(
      untilDone('join', () => Promise.reject(taken), context),
      taken,
    );
    let tries = 0;
    const endless = untilDone('join', () => Promise.reject(new Error(`${tries++}`)), context);
    const ended = assert.rejects(endless, /the end/);
    await advance(500);
    end.abort(new Error('the end'));
    await ended;
    assert.ok(tries > 1);
    await assert.rejects(
      untilDone('join', () => Promise.resolve(), context),
      /the end/,
    );
  });
});

test('a pause returns whether it ran to the end', async () => {
  await onFakeTime(async (advance) => {
    const end = new AbortController();
    const pauses = [pause(10), pause(10, end.signal), pause(20, end.signal)];
    await advance(15);
    end.abort();
    await aborted(end.signal);
    assert.deepEqual(await Promise.all([...pauses, pause(10, end.signal)]), [true, true, false, false]);
  });
});

test('a background failure is neither silent nor unhandled', async () => {
  const { log, lines } = recorder();
  const end = new AbortController();
  background('look around', Promise.reject(new Error('dark')), log, end.signal);
  background('look around', Promise.resolve(), log);
  await settled();
  end.abort();
  background('look around', Promise.reject(end.signal.reason), log, end.signal);
  await settled();
  assert.equal(lines.length, 1);
  const [line] = lines;
  assert.ok(line && 'error' in line.fields && 'stack' in line.fields);
  assert.deepEqual([line.level, line.fields.error], ['warn', 'dark']);
});
