import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { CellSet, Cells } from '../../src/policy/compile/cells.ts';

const range = fc
  .tuple(fc.integer({ min: 0, max: 65535 }), fc.integer({ min: 0, max: 65535 }))
  .map(([a, b]) => ({ first: Math.min(a, b), last: Math.max(a, b) }));

test('ranges are made of whole cells, and the cells of all numbers', () => {
  fc.assert(
    fc.property(fc.array(range), (ranges) => {
      const cells = new Cells(ranges);
      let next = 0;
      for (let cell = 0; cell < cells.count; cell++) {
        const { first, last } = cells.rangeOf(cell);
        assert.equal(first, next);
        next = last + 1;
      }
      assert.equal(next, 65536);
      for (const each of ranges) {
        const { from, to } = cells.of(each);
        assert.deepEqual([cells.rangeOf(from).first, cells.rangeOf(to - 1).last], [each.first, each.last]);
      }
    }),
  );
});

test('a set of cells is a set, in order', () => {
  const count = 20;
  const cell = fc.integer({ min: 0, max: count - 1 });
  const part = fc.record({ from: cell, to: fc.integer({ min: 0, max: count }), deleted: fc.array(cell) });
  fc.assert(
    fc.property(fc.option(fc.array(cell), { nil: undefined }), fc.array(part), (cells, parts) => {
      const set = new CellSet(count, cells);
      const model = new Set(cells ?? Array.from({ length: count }, (_, i) => i));
      for (const { from, to, deleted } of parts) {
        const expected = [...model].filter((each) => from <= each && each < to).sort((a, b) => a - b);
        const found: number[] = [];
        for (const each of set.within(from, to)) {
          found.push(each);
          if (!deleted.includes(each)) continue;
          set.delete(each);
          model.delete(each);
        }
        assert.deepEqual(found, expected);
      }
    }),
  );
});
