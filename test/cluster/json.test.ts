import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { parseForeignJson, parseJson } from '../../src/cluster/json.ts';

test('JSON without repeated keys is read as by JSON.parse, whatever its strings contain', () => {
  fc.assert(
    fc.property(fc.json({ stringUnit: 'binary' }), (json) =>
      assert.deepEqual(parseJson(json), JSON.parse(json)),
    ),
  );
});

test('a key that occurs twice is refused at any depth, however it is spelled', () => {
  const cases: [string, RegExp][] = [
    ['{"Network": "10.1.0.0/16", "Network": "10.2.0.0/16"}', /^SyntaxError: the key "Network" occurs twice/],
    ['{"spec": {"node": "a", "node": ""}}', /"node" occurs twice/],
    ['[{"a": [{"b": 1, "c": {"b": 2}, "b": 3}]}]', /"b" occurs twice/],
    ['{"a": 1, "\\u0061": 2}', /"a" occurs twice/],
    ['{"": 1, "": 2}', /"" occurs twice/],
  ];
  for (const [json, message] of cases) assert.throws(() => parseJson(json), message, json);
});

test('equal keys of different objects, and strings that look like keys, are none', () => {
  for (const json of [
    '[{"a": 1}, {"a": 2}]',
    '{"a": {"a": "a\\": "}, "b": "a"}',
    '{"a": "{\\"a\\": [", "b": [":"]}',
  ]) {
    assert.deepEqual(parseJson(json), JSON.parse(json));
  }
});

test('JSON from anybody: nesting is limited, whatever strings hold', () => {
  const nested = (depth: number) => `${'['.repeat(depth)}${']'.repeat(depth)}`;
  assert.doesNotThrow(() => parseForeignJson(nested(64)));
  assert.throws(() => parseForeignJson(nested(65)), /nested more than 64 levels/);
  assert.throws(() => parseJson(`{"a":${nested(100_000)}}`), /nested more than 64 levels/);
  for (const text of ['['.repeat(1000), '\\"'.repeat(9) + '{'.repeat(1000), '\\\\']) {
    assert.doesNotThrow(() => parseForeignJson(`["${text}", {}]`));
  }
});
