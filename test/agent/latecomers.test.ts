import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Latecomers } from '../../src/agent/latecomers.ts';

test('a peer counts as long as it uses a former backend, and for a while after', () => {
  const latecomers = new Latecomers(30);
  const one = ['one', 'vxlan'] as const;
  const two = ['two', 'host-gw'] as const;
  assert.deepEqual(latecomers.note(new Map([one, two]), 0), new Map([one, two]));
  assert.deepEqual(latecomers.note(new Map([two]), 30), new Map([one, two]));
  assert.deepEqual(latecomers.note(new Map([two]), 31), new Map([two]));
  assert.deepEqual(latecomers.note(new Map([['two', 'vxlan']]), 40), new Map([['two', 'vxlan']]));
  assert.deepEqual(latecomers.note(new Map(), 71), new Map());
});
