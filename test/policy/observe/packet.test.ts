import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { ipFromBytes } from '../../../src/ip/address.ts';
import { ICMP, ICMPV6, SCTP, TCP, UDP } from '../../../src/policy/model/traffic.ts';
import { headingOf } from '../../../src/policy/observe/packet.ts';

const bytes = (length: number) => fc.uint8Array({ minLength: length, maxLength: length });
const ends = fc.record({ protocol: fc.constantFrom(TCP, UDP, SCTP), ports: bytes(4) });

test('an IPv4 packet’s connection is in its headers, whatever options there are', () => {
  fc.assert(
    fc.property(bytes(8), ends, fc.integer({ min: 0, max: 10 }), (addresses, { protocol, ports }, words) => {
      const packet = Buffer.concat([
        Buffer.from([0x40 | (5 + words), 0, 0, 0, 0, 0, 0x40, 0, 64, protocol, 0, 0]),
        addresses,
        Buffer.alloc(words * 4, 1),
        ports,
        Buffer.alloc(8),
      ]);
      assert.deepEqual(headingOf(4, packet), {
        source: ipFromBytes(addresses.subarray(0, 4)),
        destination: ipFromBytes(addresses.subarray(4)),
        flow: { family: 4, protocol, port: Buffer.from(ports).readUInt16BE(2) },
      });
    }),
  );
});

/** An extension header, as its number and its bytes but the next one's number. */
const extension = fc.oneof(
  fc.tuple(fc.constantFrom(0, 43, 60), fc.integer({ min: 0, max: 3 })).map(([number, more]) => {
    return { number, rest: Buffer.concat([Buffer.from([more]), Buffer.alloc(6 + more * 8, 7)]) };
  }),
  fc.constant({ number: 51, rest: Buffer.concat([Buffer.from([4]), Buffer.alloc(22)]) }),
  fc.constant({ number: 44, rest: Buffer.from([9, 0, 1, 0, 0, 0, 1]) }),
);

test('an IPv6 packet’s connection is behind its extension headers', () => {
  fc.assert(
    fc.property(
      bytes(32),
      ends,
      fc.array(extension, { maxLength: 4 }),
      (addresses, { protocol, ports }, all) => {
        const numbers = [...all.map(({ number }) => number), protocol];
        const packet = Buffer.concat([
          Buffer.from([0x60, 0, 0, 0, 0, 0, numbers[0] ?? 0, 64]),
          addresses,
          ...all.flatMap(({ rest }, i) => [Buffer.from([numbers[i + 1] ?? 0]), rest]),
          ports,
          Buffer.alloc(8),
        ]);
        assert.deepEqual(headingOf(6, packet), {
          source: ipFromBytes(addresses.subarray(0, 16)),
          destination: ipFromBytes(addresses.subarray(16)),
          flow: { family: 6, protocol, port: Buffer.from(ports).readUInt16BE(2) },
        });
      },
    ),
  );
});

test('what is not there is not told: later fragments, messages, other protocols, cut packets', () => {
  const of4 = (protocol: number, fragment: number, ...payload: number[]) =>
    headingOf(
      4,
      Buffer.from([
        0x45,
        0,
        0,
        0,
        0,
        0,
        fragment,
        1,
        64,
        protocol,
        0,
        0,
        10,
        0,
        0,
        1,
        10,
        0,
        0,
        2,
        ...payload,
      ]),
    )?.flow;
  assert.deepEqual(of4(TCP, 0, 1, 2, 3, 4), { family: 4, protocol: TCP });
  assert.deepEqual(of4(ICMP, 0, 8, 0), { family: 4, protocol: ICMP });
  const message = Buffer.from([0x45, 0, 0, 0, 0, 0, 0, 0, 64, ICMP, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 3, 1]);
  assert.deepEqual(headingOf(4, message)?.flow, { family: 4, protocol: ICMP, icmp: { type: 3, code: 1 } });
  const six = Buffer.concat([
    Buffer.from([0x60, 0, 0, 0, 0, 0, ICMPV6, 1]),
    Buffer.alloc(32),
    message.subarray(20),
  ]);
  assert.deepEqual(headingOf(6, six)?.flow, { family: 6, protocol: ICMPV6, icmp: { type: 3, code: 1 } });
  fc.assert(
    fc.property(fc.constantFrom(4 as const, 6 as const), fc.uint8Array({ maxLength: 128 }), (family, any) => {
      const found = headingOf(family, any);
      assert.equal(found === undefined, any.length < (family === 4 ? 20 : 40));
    }),
  );
});
