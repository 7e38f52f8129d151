import assert from 'node:assert/strict';
import { test } from 'node:test';
import { stripVTControlCharacters } from 'node:util';
import fc from 'fast-check';
import { paint, render, type Style, table } from '../../../src/cli/shared/output.ts';

test('columns are aligned, without trailing blanks', () => {
  const text = table(
    ['NODE', 'AGENT', 'PODS'],
    [
      ['node1', paint('green', 'ready'), '2'],
      ['n', paint('red', 'not ready'), ''],
    ],
    false,
  );
  assert.equal(text, 'NODE   AGENT      PODS\nnode1  ready      2\nn      not ready');
  assert.equal(table(['A'], [], false), '');
});

test('colour does not change the columns', () => {
  const style = fc.constantFrom<Style>('green', 'red', 'yellow', 'dim', 'bold');
  const cell = fc.oneof(
    fc.stringMatching(/^[a-z0-9.:/ -]{0,12}$/),
    fc.tuple(style, fc.stringMatching(/^[a-z]{0,9}$/)).map(([s, t]) => paint(s, t)),
  );
  fc.assert(
    fc.property(fc.array(fc.tuple(cell, cell, cell), { minLength: 1 }), (rows) => {
      const [plain, coloured] = [table(['A', 'B', 'C'], rows, false), table(['A', 'B', 'C'], rows, true)];
      const lines = stripVTControlCharacters(coloured).split('\n');
      assert.deepEqual(
        lines.map((line) => line.trimEnd()),
        plain.split('\n').map((line) => line.trimEnd()),
      );
    }),
  );
});

test('without colour there are no escapes', () => {
  assert.equal(render(paint('red', 'FAIL'), false), 'FAIL');
  assert.ok(render(paint('red', 'FAIL'), true).startsWith('\u001b[31mFAIL'));
});
