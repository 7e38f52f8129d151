import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { nearest } from '../../src/cluster/spelling.ts';

test('proposes what a slip of the fingers makes of a word, and nothing far from all', () => {
  const known = ['endpoints', 'prefix', 'leaseTtl', 'tls'];
  assert.equal(nearest('endpoint', known), 'endpoints');
  assert.equal(nearest('LEASETTL', known), 'leaseTtl');
  assert.equal(nearest('prefx', known), 'prefix');
  assert.equal(nearest('xyz', known), undefined);
  assert.equal(nearest('x', []), undefined);
});

test('one letter more, less or other is still the same word', () => {
  const word = fc.stringMatching(/^[a-z]{4,12}$/);
  fc.assert(
    fc.property(word, fc.nat(), fc.constantFrom('', 'x'), fc.nat(1), (text, at, letter, deleted) => {
      const i = at % text.length;
      assert.equal(nearest(text.slice(0, i) + letter + text.slice(i + deleted), [text]), text);
    }),
  );
});
