import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { within } from '../../src/async/within.ts';

test('work that ends in time settles as it does alone', async () => {
  assert.equal(await within(1000, sleep(1, 'done'), 'late'), 'done');
  await assert.rejects(within(1000, Promise.reject(new Error('failed')), 'late'), /failed/);
});

test('work that takes longer is given up, and may still fail', async () => {
  const failing = sleep(50).then(() => assert.fail('later'));
  assert.equal(await within(5, failing, 'late'), 'late');
  await sleep(60);
});
