import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type Change, Inventory, isOlder, type Kept } from '../../../src/kubernetes/informer/inventory.ts';

const kept = fc.record({
  key: fc.constantFrom('a', 'b', 'c', 'd'),
  version: fc.constantFrom('1', '2', '3'),
  value: fc.option(fc.nat(9), { nil: undefined }),
});

/**
 * Applies changes as a follower would, and checks that each says truly what was before, and that the
 * inventory is never ahead of it.
 */
function follow(
  model: Map<string, number>,
  changes: Iterable<Change<number> | undefined>,
  inventory: Inventory<number>,
): void {
  for (const change of changes) {
    if (!change) continue;
    assert.equal(change.before, model.get(change.key));
    if (change.type === 'set') model.set(change.key, change.value);
    else assert.ok(model.delete(change.key));
    assert.deepEqual(model, inventory.values);
  }
}

test('a follower of the changes knows what the inventory holds, lists included', () => {
  const step = fc.oneof(
    kept.map((one) => ({ one })),
    fc.constantFrom('a', 'b', 'c', 'd').map((gone) => ({ gone })),
    fc.uniqueArray(kept, { selector: ({ key }) => key }).map((all) => ({ all })),
  );
  fc.assert(
    fc.property(fc.array(step), (steps) => {
      const inventory = new Inventory<number>();
      const model = new Map<string, number>();
      for (const each of steps) {
        if ('one' in each) follow(model, [inventory.set(each.one)], inventory);
        else if ('gone' in each) follow(model, [inventory.delete(each.gone)], inventory);
        else {
          follow(model, inventory.replaceAll(each.all), inventory);
          const listed = each.all.filter(({ value }) => value !== undefined).map(({ key }) => key);
          assert.deepEqual([...model.keys()].sort(), listed.sort());
        }
        assert.deepEqual(model, inventory.values);
      }
    }),
  );
});

test('the same version twice is one change; what is gone from a list comes before what is new', () => {
  const inventory = new Inventory<number>();
  const one: Kept<number> = { key: 'a', version: '1', value: 1 };
  assert.ok(inventory.set(one));
  assert.equal(inventory.set(one), undefined);
  const changes = [...inventory.replaceAll([{ key: 'b', version: '2', value: 1 }])];
  assert.deepEqual(
    changes.map(({ type, key }) => `${type} ${key}`),
    ['deleted a', 'set b'],
  );
});

test('versions are compared as numbers, if they are numbers', () => {
  assert.ok(isOlder('9', '10'));
  assert.ok(!isOlder('10', '10') && !isOlder('90071992547409931', '90071992547409930'));
  assert.ok(!isOlder('a', 'b') && !isOlder('', '1'));
});
