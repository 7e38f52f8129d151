import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { macFromBytes, macFromSeed, macToBytes, parseMac } from '../../src/ip/mac.ts';

const bytes = fc.uint8Array({ minLength: 6, maxLength: 6 });

describe('Mac', () => {
  it('goes from bytes to text and back', () => {
    fc.assert(
      fc.property(bytes, (bytes) => {
        const mac = macFromBytes(bytes);
        assert.equal(
          mac,
          Buffer.from(bytes)
            .toString('hex')
            .replace(/..(?=.)/g, '$&:'),
        );
        assert.deepEqual(macToBytes(mac), bytes);
        assert.equal(parseMac(mac.toUpperCase().replaceAll(':', '-')), mac);
      }),
    );
  });

  for (const text of [
    '',
    '12:c6:65:89:b4',
    '12:c6:65:89:b4:e3:00',
    '12c66589b4e3',
    '12:c6:65:89:b4:g3',
    '2:c6:65:89:b4:e3',
  ]) {
    it(`refuses '${text}'`, () => assert.throws(() => parseMac(text), { code: 'ADDRESS_INVALID' }));
  }
});

describe('macFromSeed', () => {
  it('is a locally administered unicast address, the same each time', () => {
    fc.assert(
      fc.property(fc.string(), (seed) => {
        const [first = 0] = macToBytes(macFromSeed(seed));
        assert.equal(first & 0b11, 0b10);
        assert.equal(macFromSeed(seed), macFromSeed(seed));
      }),
    );
    assert.equal(
      macFromSeed('node1/flannel.1'),
      '62:15:74:42:b1:8b',
      'a new release gives old nodes their MAC',
    );
  });

  it('differs for 20,000 seeds of one form', () => {
    const macs = new Set(Array.from({ length: 20_000 }, (_, i) => macFromSeed(`node${i}`)));
    assert.equal(macs.size, 20_000);
  });
});
