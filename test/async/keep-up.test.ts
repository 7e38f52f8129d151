import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Backoff } from '../../src/async/backoff.ts';
import { keepUp } from '../../src/async/keep-up.ts';
import { aborted } from '../../src/async/pause.ts';
import { onFakeTime, recorder } from './fake-time.ts';

test('work that ends or fails starts again, ever later, until the signal aborts', async () => {
  await onFakeTime(async (advance) => {
    const stop = new AbortController();
    const { log, lines } = recorder();
    const reasons: string[] = [];
    let starts = 0;
    const work = async (): Promise<void> => {
      starts++;
      if (starts === 2) throw new Error('broken');
      if (starts === 4) await aborted(stop.signal);
    };
    const kept = keepUp('listen', work, {
      signal: stop.signal,
      log,
      ended: (reason) => reasons.push(reason),
      backoff: new Backoff({ first: 10, jitter: 0 }),
    });
    await advance(9);
    assert.equal(starts, 1);
    await advance(1);
    assert.equal(starts, 2);
    await advance(20);
    assert.equal(starts, 3);
    await advance(40);
    assert.equal(starts, 4);
    stop.abort();
    await kept;
    assert.equal(starts, 4);
    assert.deepEqual(reasons, ['it ended', 'broken', 'it ended']);
    assert.equal(lines.length, 3, 'each new reason is logged');
  });
});
