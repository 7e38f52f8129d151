import assert from 'node:assert/strict';
import { isIP, SocketAddress } from 'node:net';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import {
  BITS,
  familyOf,
  type Ip,
  ipAdd,
  ipCompare,
  ipFromBigInt,
  ipFromBytes,
  ipToBigInt,
  ipToBytes,
  isIp,
  isLinkLocal,
  parseIp,
  unmapped,
} from '../../src/ip/address.ts';
import { anyIp, ips } from './arbitraries.ts';

/** Text that is an address, or was one before a character was put in, dropped or changed. */
const nearlyIp = fc
  .tuple(
    fc.oneof(fc.ipV4(), fc.ipV6()),
    fc.nat(40),
    fc.nat(1),
    fc.constantFrom('', '.', ':', '0', '1', 'f', 'g', '-'),
  )
  .map(([text, at, dropped, put]) => text.slice(0, at) + put + text.slice(at + dropped));

describe('parseIp', () => {
  it('accepts what node:net accepts, and nothing else', () => {
    fc.assert(
      fc.property(fc.oneof(fc.ipV4(), fc.ipV6(), nearlyIp, fc.string()), (text) => {
        assert.equal(isIp(text), isIP(text) !== 0 && !text.includes('%'), text);
      }),
      { numRuns: 2000 },
    );
  });

  it('writes the canonical text that inet_ntop writes', () => {
    fc.assert(
      fc.property(fc.oneof(fc.ipV4(), fc.ipV6(), anyIp), (text) => {
        const ip = parseIp(text);
        // inet_ntop writes ::/96 with a dotted tail; RFC 5952 §5 wants that for well-known prefixes, and Go
        // and Linux do not.
        if (familyOf(ip) === 6 && ipToBigInt(ip) >> 32n === 0n) return;
        const family = familyOf(ip) === 4 ? 'ipv4' : 'ipv6';
        assert.equal(ip, new SocketAddress({ address: text, family }).address);
      }),
      { numRuns: 1000 },
    );
  });

  it('is idempotent, and equal addresses have equal text', () => {
    fc.assert(
      fc.property(anyIp, (ip) => {
        assert.equal(parseIp(ip), ip);
        assert.equal(ipFromBytes(ipToBytes(ip)), ip);
        assert.equal(ipFromBigInt(familyOf(ip), ipToBigInt(ip)), ip);
      }),
    );
  });

  const canonical: [string, string][] = [
    ['FD00:0:0:0:0:0:0:1', 'fd00::1'],
    ['::', '::'],
    ['0:0:0:0:0:0:0:1', '::1'],
    ['1:0:2:0:0:3:0:0', '1:0:2::3:0:0'],
    ['1:0:0:2:0:0:0:3', '1:0:0:2::3'],
    ['1:2:3:4:5:6:0:8', '1:2:3:4:5:6:0:8'],
    ['1:2:3:4:5:6:7::', '1:2:3:4:5:6:7:0'],
    ['::1.2.3.4', '::102:304'],
    ['::ffff:102:304', '::ffff:1.2.3.4'],
    ['64:ff9b::192.0.2.33', '64:ff9b::c000:221'],
  ];
  for (const [text, expected] of canonical) {
    it(`reads ${text} as ${expected}`, () => assert.equal(parseIp(text), expected));
  }

  for (const text of [
    '',
    '1.2.3',
    '1.2.3.4.5',
    '01.2.3.4',
    '1.2.3.256',
    '0x1.2.3.4',
    '1.2.3.4 ',
    '1::2::3',
    '::1%lo',
  ]) {
    it(`refuses '${text}'`, () => assert.throws(() => parseIp(text), { code: 'ADDRESS_INVALID' }));
  }
});

describe('arithmetic', () => {
  it('adds as the integers do, and refuses to leave the family', () => {
    fc.assert(
      fc.property(anyIp, fc.bigInt({ min: -(1n << 33n), max: 1n << 33n }), (ip, offset) => {
        const family = familyOf(ip);
        const sum = ipToBigInt(ip) + offset;
        if (sum < 0n || sum >= 1n << BigInt(BITS[family])) {
          assert.throws(() => ipAdd(ip, offset), { code: 'ADDRESS_INVALID' });
        } else {
          assert.equal(ipToBigInt(ipAdd(ip, offset)), sum);
          assert.equal(familyOf(ipAdd(ip, offset)), family);
        }
      }),
    );
  });

  it('orders as the bytes do, IPv4 first', () => {
    fc.assert(
      fc.property(anyIp, anyIp, (a, b) => {
        const bytes = Buffer.compare(ipToBytes(a), ipToBytes(b));
        const expected = familyOf(a) === familyOf(b) ? bytes : familyOf(a) - familyOf(b);
        assert.equal(Math.sign(ipCompare(a, b)), Math.sign(expected));
        assert.equal(ipCompare(a, b) === 0, a === b);
      }),
    );
  });

  it('refuses byte strings of other lengths', () => {
    for (const length of [0, 3, 5, 15, 17]) {
      assert.throws(() => ipFromBytes(new Uint8Array(length)), { code: 'ADDRESS_INVALID' });
    }
  });
});

describe('kinds of address', () => {
  it('knows link-local addresses', () => {
    const linkLocal = ['169.254.0.0', '169.254.255.255', 'fe80::', 'fe80::1', 'febf:ffff::1'];
    const others = ['169.253.255.255', '169.255.0.0', 'fe7f:ffff::', 'fec0::', '::169.254.0.1'];
    for (const text of linkLocal) assert.equal(isLinkLocal(parseIp(text)), true, text);
    for (const text of others) assert.equal(isLinkLocal(parseIp(text)), false, text);
  });

  it('unmaps a mapped IPv4 address, and leaves any other alone', () => {
    fc.assert(fc.property(ips(4), (ip) => assert.equal(unmapped(parseIp(`::ffff:${ip}`)), ip)));
    for (const text of ['::1', '::ffff', 'fd00::ffff:1.2.3.4', '::1.2.3.4', '10.0.0.1', '::fffe:1.2.3.4']) {
      const ip: Ip = parseIp(text);
      assert.equal(unmapped(ip), ip);
    }
  });
});
