import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { isInRange, mergedRanges } from '../../src/cluster/port-range.ts';

const range = fc
  .tuple(fc.integer({ min: 1, max: 40 }), fc.nat(8))
  .map(([first, more]) => ({ first, last: first + more }));

test('merged ranges hold the same ports, in order, and neither overlap nor touch', () => {
  fc.assert(
    fc.property(fc.array(range, { maxLength: 6 }), (ranges) => {
      const merged = mergedRanges(ranges);
      for (let port = 0; port < 60; port++) {
        const holders = merged.filter((each) => isInRange(port, each)).length;
        assert.equal(holders, ranges.some((each) => isInRange(port, each)) ? 1 : 0);
      }
      merged.forEach(({ first, last }, i) => {
        assert.ok(first <= last);
        assert.ok(first > (merged[i - 1]?.last ?? -1) + 1);
      });
    }),
  );
});
