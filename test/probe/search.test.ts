import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { search } from '../../src/probe/search.ts';

const size = fc.integer({ min: 84, max: 9000 });

test('the search finds the largest size in a few rounds, whatever it is', async () => {
  await fc.assert(
    fc.asyncProperty(size, size, size, async (one, other, limit) => {
      const [least, most] = [Math.min(one, other), Math.max(one, other)];
      let rounds = 0;
      let isTold = false;
      const found = await search(least, most, async (tried) => {
        assert.ok(tried > least && tried <= most);
        if (!isTold) rounds++;
        isTold = true;
        await null;
        isTold = false;
        return tried <= limit;
      });
      assert.equal(found, Math.max(least, Math.min(most, limit)));
      assert.ok(rounds <= 4, `${rounds}`);
    }),
  );
});
