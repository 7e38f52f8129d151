import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { parseIp } from '../../../src/ip/address.ts';
import { readDatagram } from '../../../src/policy/names/datagram.ts';
import { datagram } from './packets.ts';

const ENDS = [
  { from: parseIp('10.0.0.53'), to: parseIp('10.0.0.1') },
  { from: parseIp('fd00::53'), to: parseIp('fd00::1') },
];

test('a datagram is read whole, or not at all', () => {
  const payload = Buffer.from('hello');
  for (const ends of ENDS) {
    const packet = datagram({ ...ends, payload });
    const read = readDatagram(packet);
    assert.equal(read?.to, ends.to);
    assert.deepEqual(Buffer.from(read?.payload ?? []), payload);
    // Padding behind it is none of it.
    assert.equal(readDatagram(Buffer.concat([packet, Buffer.alloc(9)]))?.payload.length, payload.length);
    for (let cut = 0; cut < packet.length; cut++)
      assert.equal(readDatagram(packet.subarray(0, cut)), undefined, `${cut}`);
  }
});

test('fragments, other protocols and any other bytes are none', () => {
  const [ends = assert.fail()] = ENDS;
  const packet = datagram({ ...ends, payload: Buffer.from('hello') });
  for (const [at, value] of [
    [6, 0x20],
    [7, 1],
    [9, 6],
    [0, 0x55],
    [0, 0x44],
  ] as const) {
    const changed = Buffer.from(packet);
    changed[at] = value;
    assert.equal(readDatagram(changed), undefined, `${at}: ${value}`);
  }
  fc.assert(fc.property(fc.uint8Array({ maxLength: 80 }), (bytes) => void readDatagram(bytes)));
});
