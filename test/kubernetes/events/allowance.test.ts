import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Allowance } from '../../../src/kubernetes/events/allowance.ts';

test('a burst at once, then one every interval, never more', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 5 }), fc.array(fc.nat(30)), (burst, waits) => {
      let now = 0;
      const allowance = new Allowance(burst, 10, () => now);
      const taken: number[] = [];
      for (const wait of waits) {
        now += wait;
        if (allowance.take()) taken.push(now);
      }
      for (const [i, from] of taken.entries()) {
        for (const [j, to] of taken.slice(i).entries()) assert.ok(j + 1 <= burst + (to - from) / 10);
      }
      now += 10;
      assert.ok(allowance.take());
    }),
  );
});
