import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { held, leaseObject, readLease } from '../../../src/kubernetes/election/lease-record.ts';

const at = { namespace: 'kube-system', name: 'flatnet' };

test('a record survives being written; the rest of the object stays', () => {
  const record = held(undefined, 'n1', 120, new Date('2026-11-28T17:00:00.123Z'));
  assert.equal(record.renewed, '2026-11-28T17:00:00.123000Z');
  const object = leaseObject(at, undefined, record);
  assert.deepEqual(object.metadata, { name: 'flatnet', namespace: 'kube-system' });
  assert.deepEqual(readLease(object), record);
  const labelled = { ...object, metadata: { ...object.metadata, labels: { a: 'b' }, resourceVersion: '5' } };
  assert.deepEqual(leaseObject(at, labelled, record).metadata, labelled.metadata);
});

test('renewing keeps the term, another holder begins the next', () => {
  const first = held(undefined, 'n1', 120, new Date(0));
  const renewed = held(first, 'n1', 120, new Date(1000));
  assert.deepEqual([renewed.acquired, renewed.transitions], [first.acquired, 0]);
  assert.notEqual(renewed.renewed, first.renewed);
  const taken = held(renewed, 'n2', 120, new Date(2000));
  assert.deepEqual([taken.acquired === taken.renewed, taken.transitions], [true, 1]);
});

test('a Lease with garbage in it belongs to nobody', () => {
  fc.assert(
    fc.property(fc.object(), (spec) => {
      const { holder, duration } = readLease({ metadata: { name: 'a' }, spec });
      assert.deepEqual([typeof holder, Number.isSafeInteger(duration)], ['string', true]);
    }),
  );
});
