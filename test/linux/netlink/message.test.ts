import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { FlatnetError } from '../../../src/error.ts';
import {
  attributesIn,
  attributesOf,
  encodeMessage,
  encodeMessages,
  messagesOf,
  NLM_F_ACK_TLVS,
  NLM_F_CAPPED,
  NLMSG_DONE,
  NLMSG_ERROR,
  stringOf,
  verdictOf,
  Writer,
} from '../../../src/linux/netlink/message.ts';

const contents = fc.array(fc.tuple(fc.integer({ min: 1, max: 0x3fff }), fc.uint8Array({ maxLength: 300 })), {
  maxLength: 20,
});

test('attributes of any length are read back in order, nested ones too', () => {
  fc.assert(
    fc.property(contents, fc.integer({ min: 0, max: 3 }), (list, depth) => {
      const writer = new Writer().header(6, (header) => header.fill(7));
      const write = (level: number): void => {
        if (level > 0) writer.nested(5, () => write(level - 1));
        else for (const [type, bytes] of list) writer.bytes(type, bytes);
      };
      write(depth);
      writer.u32(99, 1);
      let bytes = writer.finish().subarray(8);
      const outer = [...attributesIn(bytes)];
      assert.deepEqual(outer.at(-1), [99, Buffer.from([1, 0, 0, 0])]);
      for (let level = depth; level > 0; level--) bytes = attributesOf(bytes).get(5) ?? Buffer.alloc(0);
      const inner = [...attributesIn(bytes)].slice(0, list.length);
      assert.deepEqual(
        inner,
        list.map(([type, content]) => [type, Buffer.from(content)]),
      );
    }),
  );
});

test('numbers, flags and text are written in the kernel’s format', () => {
  const bytes = new Writer()
    .u8(1, 0x12)
    .u16(2, 0x1234)
    .be16(3, 0x1234)
    .u32(4, 0x12345678)
    .be32(5, 0x12345678)
    .be64(6, 0x1122334455667788n)
    .string(7, 'eth0')
    .flag(8, true)
    .flag(9, false)
    .bool(10, true)
    .u32(11, undefined)
    .bytes(12, undefined)
    .finish();
  assert.equal(
    bytes.toString('hex'),
    [
      '0500010012000000',
      '0600020034120000',
      '0600030012340000',
      '0800040078563412',
      '0800050012345678',
      '0c0006001122334455667788',
      '09000700657468300' + '0000000',
      '04000800',
      '05000a0001000000',
    ].join(''),
  );
});

test('an attribute too long for its length field is refused', () => {
  assert.throws(
    () => new Writer().nested(1, (writer) => writer.bytes(2, Buffer.alloc(0xfff8))),
    (error) => error instanceof FlatnetError && error.code === 'INTERNAL',
  );
});

test('all messages of a datagram are read back', () => {
  const message = fc.record({
    type: fc.integer({ min: 0, max: 0xffff }),
    flags: fc.integer({ min: 0, max: 0xffff }),
    payload: fc.uint8Array({ maxLength: 100 }).map((bytes) => Buffer.from(bytes)),
  });
  fc.assert(
    fc.property(fc.array(message, { maxLength: 10 }), (messages) => {
      const datagram = encodeMessages(messages, 0);
      assert.deepEqual(
        [...messagesOf(datagram)],
        messages.map((one, sequence) => ({ ...one, sequence, portId: 0 })),
      );
    }),
  );
});

test('any bytes are either decoded or refused as malformed', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      try {
        for (const { payload } of messagesOf(Buffer.from(bytes))) [...attributesIn(payload)];
      } catch (error) {
        assert.ok(error instanceof FlatnetError && error.code === 'INTERNAL', String(error));
      }
    }),
  );
});

test('a verdict holds errno and the extended text, after a capped or a whole request', () => {
  const text = new Writer().string(1, 'Nexthop has invalid gateway').u32(2, 8).finish();
  const errno = Buffer.from(Int32Array.of(-101).buffer);
  const request = encodeMessage({ type: 24, flags: 5, payload: Buffer.alloc(22, 9) }, 7);
  const message = { sequence: 7, portId: 1 };
  const expected = { errno: 101, text: 'Nexthop has invalid gateway' };
  const whole = Buffer.concat([errno, request, text]);
  assert.deepEqual(
    verdictOf({ ...message, type: NLMSG_ERROR, flags: NLM_F_ACK_TLVS, payload: whole }),
    expected,
  );
  const capped = Buffer.concat([errno, request.subarray(0, 16), text]);
  const flags = NLM_F_ACK_TLVS | NLM_F_CAPPED;
  assert.deepEqual(verdictOf({ ...message, type: NLMSG_ERROR, flags, payload: capped }), expected);
  const done = Buffer.concat([errno, text]);
  assert.deepEqual(
    verdictOf({ ...message, type: NLMSG_DONE, flags: NLM_F_ACK_TLVS, payload: done }),
    expected,
  );
  const plain = { ...message, type: NLMSG_ERROR, flags: 0, payload: Buffer.concat([errno, request]) };
  assert.deepEqual(verdictOf(plain), { errno: 101, text: undefined });
});

test('text ends at the first zero byte', () => {
  assert.equal(stringOf(Buffer.from('eth0\0rest')), 'eth0');
  assert.equal(stringOf(Buffer.from('eth0')), 'eth0');
});
