import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { readNetwork } from '../../src/cluster/network.ts';
import type { Pool } from '../../src/cluster/pool.ts';
import { FAMILIES, familyOf, ipAdd, parseIp } from '../../src/ip/address.ts';
import {
  addressOf,
  type Cidr,
  cidrOf,
  contains,
  lastIp,
  lengthOf,
  nthIp,
  overlaps,
  parseCidr,
  sizeOf,
} from '../../src/ip/cidr.ts';
import { chooseSubnet, compatible, subnetAt, subnetCount } from '../../src/ipam/subnets.ts';
import { pools } from '../cluster/arbitraries.ts';
import { anyCidr, cidrs } from '../ip/arbitraries.ts';

/** Every subnet of the pool in order. A pool can hold millions: stop early. */
function* subnetsOf(pool: Pool): Generator<Cidr> {
  const count = subnetCount(pool);
  for (let index = 0n; index < count; index++) yield subnetAt(pool, index);
}

/** A pool of at most 512 subnets, so that all of them can be enumerated. */
const small: fc.Arbitrary<Pool> = fc.constantFrom(...FAMILIES).chain((family) => pools(family, 9));

/** Networks around the pool: its own subnets, parts and groups of them, and unrelated networks. */
function takenIn(pool: Pool): fc.Arbitrary<Cidr[]> {
  const inside = fc
    .tuple(fc.bigInt({ min: 0n, max: sizeOf(pool.cidr) - 1n }), fc.integer({ min: -2, max: 3 }))
    .map(([n, longer]) =>
      cidrOf(nthIp(pool.cidr, n), Math.max(lengthOf(pool.cidr), pool.subnetLength + Math.min(longer, 2))),
    );
  const stranger = fc.oneof(anyCidr, cidrs(familyOf(pool.cidr), lengthOf(pool.cidr)));
  return fc.array(fc.oneof({ weight: 9, arbitrary: inside }, stranger), { maxLength: 300, size: 'max' });
}

const IPV4 = readNetwork({ Network: '10.0.0.0/8' }).pools[4] as Pool;
const IPV6 = readNetwork({ EnableIPv4: false, EnableIPv6: true, IPv6Network: 'fd00:10::/48' })
  .pools[6] as Pool;

describe("a pool's subnets", () => {
  it('are those of its length from subnetMin to subnetMax, in order', () => {
    fc.assert(
      fc.property(small, (pool) => {
        const all = [...subnetsOf(pool)];
        assert.equal(BigInt(all.length), subnetCount(pool));
        assert.equal(all[0], `${pool.subnetMin}/${pool.subnetLength}`);
        assert.equal(all.at(-1), `${pool.subnetMax}/${pool.subnetLength}`);
        for (const [i, subnet] of all.entries()) {
          assert.equal(subnet, subnetAt(pool, i));
          assert.ok(contains(pool.cidr, subnet) && compatible(pool, subnet));
          const next = all[i + 1];
          if (next) assert.equal(addressOf(next), ipAdd(lastIp(subnet), 1));
        }
      }),
      { numRuns: 50 },
    );
  });

  it('are compatible, and no other network is', () => {
    fc.assert(
      fc.property(
        small.chain((pool) => fc.tuple(fc.constant(pool), takenIn(pool))),
        ([pool, others]) => {
          const own = new Set(subnetsOf(pool));
          for (const other of others) assert.equal(compatible(pool, other), own.has(other), other);
        },
      ),
      { numRuns: 50 },
    );
  });
});

describe('chooseSubnet', () => {
  it('picks one of the first hundred that a search of the whole pool finds free', () => {
    const random = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });
    fc.assert(
      fc.property(
        small.chain((pool) => fc.tuple(fc.constant(pool), takenIn(pool), random)),
        ([pool, taken, random]) => {
          const free = [...subnetsOf(pool)].filter((s) => !taken.some((t) => overlaps(s, t))).slice(0, 100);
          assert.equal(
            chooseSubnet(pool, taken, () => random),
            free[Math.floor(random * free.length)],
          );
        },
      ),
      { numRuns: 100 },
    );
  });

  it('assigns each subnet of a pool once, then none', () => {
    const pool = readNetwork({ Network: '10.244.0.0/16' }).pools[4] as Pool;
    const taken: Cidr[] = [];
    for (;;) {
      const subnet = chooseSubnet(pool, taken, Math.random);
      if (!subnet) break;
      assert.ok(!taken.some((other) => overlaps(other, subnet)));
      taken.push(subnet);
    }
    assert.equal(taken.length, 255);
    assert.ok(!taken.includes(parseCidr('10.244.0.0/24')), 'the first subnet is left out');
  });

  it('takes milliseconds in a /8 with thousands of taken subnets, and in an IPv6 /48', () => {
    assert.equal(subnetCount(IPV4), 65_535n);
    assert.equal(subnetCount(IPV6), 65_535n);
    for (const pool of [IPV4, IPV6]) {
      const taken = Array.from({ length: 10_000 }, (_, i) => subnetAt(pool, i));
      const before = performance.now();
      const subnet = chooseSubnet(pool, taken.toReversed(), () => 0.999);
      assert.ok(performance.now() - before < 1000);
      assert.equal(subnet, subnetAt(pool, 10_099));
    }
  });

  it('does not walk a pool of 2^62 subnets', () => {
    const pool: Pool = {
      cidr: parseCidr('fd00::/64'),
      subnetLength: 126,
      subnetMin: parseIp('fd00::4'),
      subnetMax: parseIp('fd00::ffff:ffff:ffff:fffc'),
    };
    const taken = [parseCidr('fd00::/66'), parseCidr('fd00::8000:0:0:0/65')];
    assert.equal(
      chooseSubnet(pool, taken, () => 0),
      'fd00::4000:0:0:0/126',
    );
  });
});
