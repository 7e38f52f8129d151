import assert from 'node:assert/strict';
import { BlockList } from 'node:net';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { BITS, FAMILIES, familyOf, type Ip, ipToBigInt, parseIp } from '../../src/ip/address.ts';
import {
  addressOf,
  type Cidr,
  cidrOf,
  contains,
  hostCidr,
  lastIp,
  lengthOf,
  nthIp,
  overlaps,
  parseCidr,
  parsePrefixed,
  prefixed,
  sizeOf,
} from '../../src/ip/cidr.ts';
import { anyCidr, anyIp, cidrs, ips } from './arbitraries.ts';

/** A network and an address, near each other half of the time. */
const cidrAndIp: fc.Arbitrary<[Cidr, Ip]> = fc.oneof(
  fc.tuple(anyCidr, anyIp),
  fc
    .tuple(anyCidr, fc.bigInt({ min: 0n, max: (1n << 128n) - 1n }))
    .map(([cidr, n]): [Cidr, Ip] => [cidr, nthIp(cidr, n % sizeOf(cidr))]),
);

describe('parseCidr', () => {
  it('masks the host bits', () => {
    fc.assert(
      fc.property(cidrAndIp, ([cidr, ip]) => {
        if (contains(cidr, ip)) assert.equal(parseCidr(`${ip}/${lengthOf(cidr)}`), cidr);
      }),
    );
    assert.equal(parseCidr('10.244.3.7/16'), '10.244.0.0/16');
    assert.equal(parseCidr('FD00:10:244::7/56'), 'fd00:10:244::/56');
  });

  it('keeps the host bits of an interface address', () => {
    assert.equal(parsePrefixed('10.244.1.1/24'), '10.244.1.1/24');
    fc.assert(
      fc.property(anyIp, fc.nat(32), (ip, length) => {
        const net = parsePrefixed(`${ip}/${length}`);
        assert.deepEqual([addressOf(net), lengthOf(net), net], [ip, length, prefixed(ip, length)]);
      }),
    );
  });

  for (const text of [
    '',
    '10.0.0.0',
    '10.0.0.0/',
    '10.0.0.0/33',
    '::/129',
    '10.0.0.0/-1',
    '10.0.0.0/08',
    '10.0.0/8',
    '/8',
    '10.0.0.0/8/8',
    '10.0.0.0/ 8',
  ]) {
    it(`refuses '${text}'`, () => assert.throws(() => parseCidr(text), { code: 'ADDRESS_INVALID' }));
  }
});

describe('contains', () => {
  it('agrees with node:net on addresses', () => {
    fc.assert(
      fc.property(cidrAndIp, ([cidr, ip]) => {
        const list = new BlockList();
        list.addSubnet(addressOf(cidr), lengthOf(cidr), `ipv${familyOf(cidr)}`);
        const expected = familyOf(cidr) === familyOf(ip) && list.check(ip, `ipv${familyOf(ip)}`);
        assert.equal(contains(cidr, ip), expected);
      }),
      { numRuns: 1000 },
    );
  });

  it('contains a network if it contains its first and last address', () => {
    fc.assert(
      fc.property(
        fc.constantFrom(...FAMILIES).chain((f) => fc.tuple(cidrs(f, 0, 12), cidrs(f))),
        ([outer, inner]) => {
          const both = contains(outer, addressOf(inner)) && contains(outer, lastIp(inner));
          assert.equal(contains(outer, inner), both);
        },
      ),
      { numRuns: 1000 },
    );
  });

  it('never contains anything of the other family', () => {
    fc.assert(fc.property(ips(4), (ip) => assert.equal(contains(parseCidr('::/0'), ip), false)));
    fc.assert(fc.property(ips(6), (ip) => assert.equal(contains(parseCidr('0.0.0.0/0'), ip), false)));
  });
});

describe('overlaps', () => {
  it('is symmetrical, and true exactly when the address ranges intersect', () => {
    const pair = fc.constantFrom(...FAMILIES).chain((f) => fc.tuple(cidrs(f, 0, 10), cidrs(f, 0, 10)));
    fc.assert(
      fc.property(fc.oneof(pair, fc.tuple(anyCidr, anyCidr)), ([a, b]) => {
        const [a0, a1, b0, b1] = [addressOf(a), lastIp(a), addressOf(b), lastIp(b)].map(ipToBigInt) as [
          bigint,
          bigint,
          bigint,
          bigint,
        ];
        const meet = familyOf(a) === familyOf(b) && a0 <= b1 && b0 <= a1;
        assert.equal(overlaps(a, b), meet);
        assert.equal(overlaps(b, a), meet);
      }),
      { numRuns: 1000 },
    );
  });
});

describe('the addresses of a network', () => {
  it('are counted from the network address to the last', () => {
    fc.assert(
      fc.property(anyCidr, (cidr) => {
        assert.equal(sizeOf(cidr), 1n << BigInt(BITS[familyOf(cidr)] - lengthOf(cidr)));
        assert.equal(nthIp(cidr, 0), addressOf(cidr));
        assert.equal(ipToBigInt(lastIp(cidr)) - ipToBigInt(addressOf(cidr)), sizeOf(cidr) - 1n);
        assert.throws(() => nthIp(cidr, -1), { code: 'ADDRESS_INVALID' });
        assert.throws(() => nthIp(cidr, sizeOf(cidr)), { code: 'ADDRESS_INVALID' });
      }),
    );
  });

  it('of one address is that address', () => {
    fc.assert(
      fc.property(anyIp, (ip) => {
        const cidr = hostCidr(ip);
        assert.equal(parseCidr(cidr), cidr);
        assert.equal(cidrOf(ip, BITS[familyOf(ip)]), cidr);
        assert.equal(sizeOf(cidr), 1n);
      }),
    );
    assert.equal(lastIp(parseCidr('10.244.1.0/24')), parseIp('10.244.1.255'));
  });
});
