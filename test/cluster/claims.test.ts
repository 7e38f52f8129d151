import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type Claim, Claims, type Law } from '../../src/cluster/claims.ts';
import { parseIp } from '../../src/ip/address.ts';
import { type Cidr, cidrOf, lengthOf, overlaps, parseCidr } from '../../src/ip/cidr.ts';

const claim = fc
  .record({
    octet: fc.nat(3),
    bits: fc.constantFrom(24, 24, 24, 25, 26, 22, 20),
    six: fc.boolean(),
    owner: fc.constantFrom('a', 'b', 'c'),
    age: fc.nat(4),
    id: fc.nat(9),
  })
  .map(({ octet, bits, six, owner, age, id }): Claim => {
    const cidr = six
      ? cidrOf(parseIp(`fd00:0:0:${octet}::`), bits + 40)
      : cidrOf(parseIp(`10.1.${octet}.0`), bits);
    return { key: `k${id}`, owner, cidr, age };
  });

const LAWS: readonly Law[] = [
  () => undefined,
  (cidr) => (lengthOf(cidr) === 22 || lengthOf(cidr) === 62 ? 'too wide' : undefined),
  (cidr) => (overlaps(cidr, parseCidr('10.1.1.0/24')) ? 'taken' : undefined),
];

/** The oldest first; each counts unless it is unlawful or overlaps one that counts, of another owner. */
function counting(claims: readonly Claim[], law: Law): Set<Claim> {
  const order = claims.toSorted((a, b) => a.age - b.age || (a.key < b.key ? -1 : 1));
  const counted: Claim[] = [];
  for (const each of order) {
    const isTaken = counted.some((other) => other.owner !== each.owner && overlaps(other.cidr, each.cidr));
    if (law(each.cidr) === undefined && !isTaken) counted.push(each);
  }
  return new Set(counted);
}

test('the oldest lawful claim counts, whatever the order of arrival', () => {
  const unique = fc.uniqueArray(claim, { maxLength: 14, selector: ({ key, cidr }) => `${key} ${cidr}` });
  fc.assert(
    fc.property(
      unique.chain((claims) =>
        fc.tuple(fc.constant(claims), fc.shuffledSubarray(claims), fc.infiniteStream(fc.nat(9))),
      ),
      ([claims, gone, dice]) => {
        // Ages are unique: a store counts its writes.
        const all = claims.map((each, i) => ({ ...each, age: each.age * 100 + i }));
        const lost = new Set(gone.map((each) => claims.indexOf(each)));
        const state = new Claims();
        let law: Law = LAWS[0] ?? assert.fail();
        const present = new Set<Claim>();
        let before = new Set<Claim>();
        const look = (): void => {
          const owners = state.settle();
          const expected = counting([...present], law);
          for (const each of present) {
            assert.equal(state.refusal(each) === undefined, expected.has(each), JSON.stringify(each));
          }
          for (const each of present) {
            const wasRefused = !before.has(each);
            if (wasRefused !== !expected.has(each) && known.has(each)) assert.ok(owners.has(each.owner));
            known.add(each);
          }
          before = expected;
          assert.ok([...state.refusals.keys()].every((each) => present.has(each)));
        };
        const known = new Set<Claim>();
        const steps = [...all, ...all.filter((_, i) => lost.has(i))];
        for (const each of steps) {
          if (present.has(each)) {
            present.delete(each);
            state.delete(each);
          } else {
            present.add(each);
            state.add(each);
          }
          const die = dice.next().value ?? 0;
          if (die === 0) {
            law = LAWS[present.size % LAWS.length] ?? law;
            state.law = law;
          }
          if (die < 6) look();
        }
        look();
      },
    ),
    { numRuns: 500 },
  );
});

test('a refusal names both subnets and both nodes', () => {
  const state = new Claims();
  const of = (owner: string, cidr: string, age: number): Claim => ({
    key: `/${owner}`,
    owner,
    cidr: parseCidr(cidr),
    age,
  });
  const [old, young] = [of('n1', '10.1.2.0/24', 1), of('n2', '10.1.0.0/20', 2)];
  state.add(young);
  assert.deepEqual([...state.settle()], []);
  state.add(old);
  assert.deepEqual([...state.settle()], ['n2']);
  assert.equal(state.refusal(young), '10.1.0.0/20 of n2 overlaps 10.1.2.0/24 of n1, which is older');
  state.delete(old);
  assert.deepEqual([...state.settle()], ['n2']);
  assert.equal(state.refusal(young), undefined);
});

test('one more claim costs the same with 20,000 others', () => {
  const state = new Claims();
  const subnet = (i: number): Cidr => parseCidr(`10.${i >> 8}.${i & 255}.0/24`);
  for (let i = 0; i < 20_000; i++) state.add({ key: `${i}`, owner: `n${i}`, cidr: subnet(i), age: i });
  state.settle();
  const wide: Claim = { key: 'wide', owner: 'x', cidr: parseCidr('10.0.0.0/20'), age: 30_000 };
  const begin = performance.now();
  for (let i = 0; i < 500; i++) {
    state.add(wide);
    state.settle();
    state.delete(wide);
    state.settle();
  }
  const each = (performance.now() - begin) / 1000;
  assert.ok(each < 2, `${each} ms`);
});
