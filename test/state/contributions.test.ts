import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { parseCidr } from '../../src/ip/cidr.ts';
import { problemText } from '../../src/problem.ts';
import { Composition, type Contribution, type Owner } from '../../src/state/contributions.ts';
import { devicesOf, type Item, keyOf } from '../../src/state/item.ts';
import { compose } from './compose.ts';

/** Few keys and few values, so that owners collide. */
const items: fc.Arbitrary<Item> = fc.record({ slot: fc.nat(5), protocol: fc.nat(1), dev: fc.nat(2) }).map(
  ({ slot, protocol, dev }): Item => ({
    kind: 'route',
    type: 'unicast',
    dst: parseCidr(`10.${slot}.0.0/16`),
    dev: `eth${dev}`,
    protocol,
  }),
);
const owners: fc.Arbitrary<Owner> = fc.record({
  part: fc.constantFrom('backend', 'wiring', 'masquerade', 'pod', 'peer', 'former'),
  name: fc.constantFrom('a', 'b', 'c'),
});
const contributions: fc.Arbitrary<Contribution> = fc.record({
  owner: owners,
  items: fc.array(items, { maxLength: 5 }),
  warnings: fc.array(
    fc.constantFrom('x', 'y').map((what) => ({ id: 'peer-unreachable', severity: 'warning', what }) as const),
    { maxLength: 1 },
  ),
});

/** One contribution per owner, as in reality: precedence within an owner is undefined. */
const uniquely = (list: readonly Contribution[]): Contribution[] => [
  ...new Map(list.map((each) => [`${each.owner.part} ${each.owner.name}`, each])).values(),
];

/** Successive lists in any order, where owners are added, removed and changed. */
const histories = fc
  .array(contributions, { minLength: 1, maxLength: 12 })
  .chain((all) => fc.array(fc.shuffledSubarray(all).map(uniquely), { minLength: 1, maxLength: 8 }));

/** The rules, reimplemented without any state. */
function expected(list: readonly Contribution[]): Map<string, Item> {
  const parts = ['backend', 'wiring', 'masquerade', 'pod', 'peer', 'former'];
  const rank = ({ owner }: Contribution) => `${parts.indexOf(owner.part)} ${owner.name}`;
  const found = new Map<string, Item>();
  for (const { items } of list.toSorted((a, b) => (rank(a) < rank(b) ? -1 : 1))) {
    for (const item of items) if (!found.has(keyOf(item))) found.set(keyOf(item), item);
  }
  return found;
}

const sorted = (state: ReadonlyMap<string, Item>) => [...state].toSorted(([a], [b]) => (a < b ? -1 : 1));

test('after any history the result is as if composed from scratch, and changes are reported', () => {
  fc.assert(
    fc.property(histories, (lists) => {
      const composition = new Composition();
      for (const list of lists) {
        const last = new Map(composition.items);
        const changed = composition.update(list);
        assert.deepEqual(sorted(composition.items), sorted(expected(list)));
        assert.deepEqual(composition.warnings, compose(list).warnings);
        for (const [key, was] of changed) {
          assert.equal(was, last.get(key));
          assert.notDeepEqual(composition.items.get(key), was);
        }
        const keys = new Set([...last.keys(), ...composition.items.keys()]);
        for (const key of keys) {
          // Equal items stay the same object.
          if (!changed.has(key)) assert.equal(composition.items.get(key), last.get(key));
        }
        const devices = new Set([...composition.items.values()].flatMap(devicesOf));
        for (const dev of ['eth0', 'eth1', 'eth2']) assert.equal(composition.involves(dev), devices.has(dev));
        for (const [key, item] of composition.items) {
          const owner = composition.ownerOf(key);
          assert.ok(
            list.some((each) => each.owner === owner && each.items.some((own) => keyOf(own) === key)),
            key,
          );
          assert.ok(item);
        }
      }
    }),
    { numRuns: 500 },
  );
});

test('an added contribution counts until the next list, and counts once', () => {
  fc.assert(
    fc.property(
      contributions,
      fc.array(contributions, { maxLength: 8 }),
      fc.boolean(),
      (added, others, stays) => {
        const list = uniquely([added, ...others]).filter((each) => each !== added);
        const composition = new Composition();
        composition.update(list);
        const changed = composition.add(added);
        assert.deepEqual(sorted(composition.items), sorted(expected([...list, added])));
        for (const key of changed.keys()) assert.ok(added.items.some((item) => keyOf(item) === key));
        assert.deepEqual([...composition.add(added)], []);
        const next = stays ? [...list, added] : list;
        composition.update(next);
        assert.deepEqual(sorted(composition.items), sorted(expected(next)));
      },
    ),
  );
});

test('the order of the list does not matter', () => {
  fc.assert(
    fc.property(
      fc
        .array(contributions, { maxLength: 10 })
        .map(uniquely)
        .chain((list) => fc.tuple(fc.constant(list), fc.shuffledSubarray(list, { minLength: list.length }))),
      ([list, shuffled]) => {
        const [one, other] = [compose(list), compose(shuffled)];
        assert.deepEqual(sorted(one.items), sorted(other.items));
        assert.deepEqual(one.warnings, other.warnings);
      },
    ),
  );
});

const route = (slot: number, dev: string): Item => ({
  kind: 'route',
  type: 'unicast',
  dst: parseCidr(`10.${slot}.0.0/16`),
  dev,
  protocol: 110,
});
const peer = (name: string, ...items: Item[]): Contribution => ({
  owner: { part: 'peer', name },
  items,
  warnings: [],
});

test('two owners of one key: the first wins, the other is reported, and takes over when the first leaves', () => {
  const composition = new Composition();
  const [a, b] = [peer('a', route(1, 'eth0')), peer('b', route(1, 'eth1'))];
  composition.update([b, a]);
  const [key] = composition.items.keys();
  assert.ok(key !== undefined);
  assert.equal(composition.items.get(key), a.items[0]);
  assert.deepEqual(composition.warnings.map(problemText), [`b: ignored '${key}', already claimed by a`]);
  assert.deepEqual([...composition.update([b])], [[key, a.items[0]]]);
  assert.equal(composition.items.get(key), b.items[0]);
  assert.deepEqual(composition.warnings, []);
});

test('equal items of two owners do not conflict, stay the same object, and leave with the last owner', () => {
  const composition = new Composition();
  const [a, b] = [peer('a', route(1, 'eth0')), peer('b', route(1, 'eth0'))];
  composition.update([b]);
  assert.deepEqual([...composition.update([a, b])], []);
  assert.deepEqual(composition.warnings, []);
  assert.deepEqual([...composition.update([a])], []);
  assert.equal([...composition.update([])].length, 1);
  assert.equal(composition.items.size, 0);
});

test('formerly desired items yield to any owner, silently', () => {
  const former: Contribution = {
    owner: { part: 'former', name: 'this node' },
    items: [route(1, 'old'), route(2, 'old')],
    warnings: [],
  };
  const { items, warnings } = compose([former, peer('z', route(1, 'new'))]);
  assert.deepEqual(
    [...items.values()].map((item) => item.kind === 'route' && item.dev),
    ['new', 'old'],
  );
  assert.deepEqual(warnings, []);
});
