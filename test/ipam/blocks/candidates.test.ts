import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { BITS, type Family, ipFromBytes } from '../../../src/ip/address.ts';
import { type Cidr, cidrOf, contains, nthIp, overlaps, parseCidr } from '../../../src/ip/cidr.ts';
import { candidates, isCutFrom, Taken } from '../../../src/ipam/blocks/candidates.ts';

const family = fc.constantFrom<Family>(4, 6);
const poolOf = family.chain((f) =>
  fc.record({
    cidr: fc
      .tuple(
        fc.uint8Array({ minLength: BITS[f] / 8, maxLength: BITS[f] / 8 }),
        fc.integer({ min: BITS[f] - 12, max: BITS[f] - 4 }),
      )
      .map(([bytes, length]) => cidrOf(ipFromBytes(bytes), length)),
    more: fc.integer({ min: 0, max: 4 }),
  }),
);
const inside = fc.tuple(fc.nat(4095), fc.nat(10));

test('every block with free addresses is yielded once, starting at a position derived from the name', () => {
  const run = fc.property(
    poolOf,
    fc.string(),
    fc.array(inside, { maxLength: 3 }),
    ({ cidr, more }, seed, holes) => {
      const length = Number(cidr.split('/')[1]);
      const blockSize = length + more;
      const bits = cidr.includes(':') ? 128 : 32;
      const reserved = holes.map(([at, bit]) => cidrOf(nthIp(cidr, at % 2 ** (bits - length)), bits - bit));
      const all = [...candidates({ cidr, blockSize }, seed, [])];
      assert.equal(new Set(all).size, 2 ** more);
      for (const block of all) assert.ok(isCutFrom({ cidr, blockSize }, block));
      const open = all.filter((block) => !reserved.some((each) => contains(each, block)));
      assert.deepEqual([...candidates({ cidr, blockSize }, seed, reserved)], open);
    },
  );
  fc.assert(run, { numRuns: 300 });
});

test('nodes start in different places', () => {
  const range = { cidr: parseCidr('10.0.0.0/16'), blockSize: 26 };
  const starts = new Set(
    Array.from({ length: 100 }, (_, i) => candidates(range, `node${i}`, []).next().value),
  );
  assert.ok(starts.size > 90, `${starts.size} of 100`);
});

test('half a huge pool reserved: the other half is found at once', () => {
  const range = { cidr: parseCidr('fd00::/48'), blockSize: 122 };
  const reserved = [parseCidr('fd00::/49')];
  const [first] = candidates(range, 'node1', reserved);
  assert.ok(first && contains(parseCidr('fd00:0:0:8000::/49'), first));
  assert.deepEqual([...candidates(range, 'node1', [parseCidr('fd00::/32')])], []);
});

test('overlaps are detected whatever the block size', () => {
  const cidr = fc
    .tuple(fc.nat(255), fc.integer({ min: 24, max: 30 }))
    .map(([last, length]) => parseCidr(`10.0.0.${last}/${length}`));
  const run = fc.property(fc.array(cidr, { maxLength: 6 }), cidr, (taken: readonly Cidr[], asked) => {
    assert.equal(
      new Taken(taken).overlaps(asked),
      taken.some((each) => overlaps(each, asked)),
    );
  });
  fc.assert(run);
});
