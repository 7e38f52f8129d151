import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Registers } from '../../../src/firewall/rules/registers.ts';

// A rule's 64 bytes: NFT_REG_1 to 4 of sixteen bytes, and NFT_REG32_00 (8) to 15 (23) of four, overlaid.

const offsetOf = (register: number): number => (register < 8 ? 16 * (register - 1) : 4 * (register - 8));
const place = fc
  .record({
    register: fc.oneof(fc.integer({ min: 1, max: 4 }), fc.integer({ min: 8, max: 23 })),
    length: fc.integer({ min: 1, max: 16 }),
  })
  .filter(({ register, length }) => offsetOf(register) + length <= 64);
const write = fc.tuple(place, fc.boolean(), fc.uint8Array({ minLength: 16, maxLength: 16 }));

test('a register holds the last written value, and is unknown if any of its words is', () => {
  fc.assert(
    fc.property(fc.array(write, { maxLength: 12 }), place, (writes, { register, length }) => {
      const registers = new Registers();
      /** By byte; undefined: unknown. */
      const model: (number | undefined)[] = new Array(64).fill(undefined);
      for (const [at, isKnown, bytes] of writes) {
        registers.write(at.register, isKnown ? bytes.subarray(0, at.length) : undefined, at.length);
        const words = 4 * Math.ceil(at.length / 4);
        for (let i = 0; i < words; i++) {
          model[offsetOf(at.register) + i] = isKnown ? (i < at.length ? bytes[i] : 0) : undefined;
        }
      }
      const start = offsetOf(register);
      const words = model.slice(start, start + 4 * Math.ceil(length / 4));
      const wanted = words.includes(undefined) ? undefined : words.slice(0, length);
      const read = registers.read(register, length);
      assert.deepEqual(read && [...read], wanted);
    }),
  );
});
