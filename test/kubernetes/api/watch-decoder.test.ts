import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { WatchDecoder, type WatchEvent } from '../../../src/kubernetes/api/watch-decoder.ts';

/** An event as the server writes it, and as it is to be read. */
const event = fc
  .record({
    type: fc.constantFrom('ADDED', 'MODIFIED', 'DELETED'),
    name: fc.string({ unit: 'grapheme', minLength: 1 }),
    text: fc.string({ unit: 'grapheme' }),
  })
  .map(({ type, name, text }) => ({ type, object: { metadata: { name }, text } }));

test('however the bytes of a watch are torn, the events are the same', () => {
  fc.assert(
    fc.property(fc.array(event), fc.infiniteStream(fc.nat(40)), (events, sizes) => {
      const body = Buffer.from(events.map((each) => `${JSON.stringify(each)}\n`).join(''));
      const decoder = new WatchDecoder();
      const read: WatchEvent[] = [];
      for (let at = 0; at < body.length; ) {
        const size = sizes.next().value;
        read.push(...decoder.push(body.subarray(at, at + size)));
        at += size;
      }
      assert.deepEqual(read, events);
      assert.ok(!decoder.isTorn);
    }),
  );
});

test('bookmarks, errors and empty lines', () => {
  const decoder = new WatchDecoder();
  const bookmark = { type: 'BOOKMARK', object: { kind: 'Pod', metadata: { resourceVersion: '7' } } };
  const error = { type: 'ERROR', object: { kind: 'Status', code: 410 } };
  const body = `${JSON.stringify(bookmark)}\n\n${JSON.stringify(error)}\n{"type"`;
  assert.deepEqual(decoder.push(Buffer.from(body)), [
    { type: 'BOOKMARK', resourceVersion: '7' },
    { type: 'ERROR', status: error.object },
  ]);
  assert.ok(decoder.isTorn);
});

test('whatever is no event is an error, not an exception of another kind', () => {
  fc.assert(
    fc.property(fc.oneof(fc.json(), fc.string()), (text) => {
      try {
        new WatchDecoder().push(Buffer.from(`${text}\n`));
      } catch (error) {
        assert.equal(error instanceof Error && 'code' in error && error.code, 'STORE_UNAVAILABLE');
      }
    }),
  );
  for (const line of ['no JSON', '[]', '{}', '{"type":"ADDED","object":{}}', '{"type":"BOOKMARK"}']) {
    assert.throws(
      () => new WatchDecoder().push(Buffer.from(`${line}\n`)),
      { code: 'STORE_UNAVAILABLE' },
      line,
    );
  }
});
