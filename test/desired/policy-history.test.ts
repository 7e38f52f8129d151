import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { desiredState, type Facts } from '../../src/desired/desired.ts';
import { Memo } from '../../src/desired/memo.ts';
import type { Item } from '../../src/state/item.ts';
import { factsOf } from '../backends/cluster.ts';
import { History, history } from '../policy/history.ts';
import { compose } from '../state/compose.ts';

const NODE = factsOf({
  size: 1,
  families: [4, 6],
  backend: { Type: 'host-gw' },
  networks: 1,
  wiring: 'bridge',
});

const POLICY = { onChange: 'cut', offload: true, logDenied: false, logGroup: 7 } as const;

/** What the node is to hold, by key. */
function held(history: History, memo?: Memo): ReadonlyMap<string, Item> {
  const facts: Facts = {
    ...NODE,
    network: { ...NODE.network, policy: POLICY },
    pods: history.local,
    policies: history.view,
    names: { addresses: history.addresses, observed: 'copied', resolvers: [] },
    hasFlowtables: true,
  };
  return compose(desiredState(facts, memo).contributions).items;
}

test('whatever the order of events, repeated or together, what is held follows from what they end in', () => {
  fc.assert(
    fc.property(history, ({ events, end }) => {
      const [lived, memo] = [new History(), new Memo()];
      for (const { each, isLookedAt } of events) {
        lived.take(each);
        if (isLookedAt) held(lived, memo);
      }
      const fresh = new History();
      for (const each of end) fresh.take(each);
      const [found, expected] = [held(lived, memo), held(fresh)];
      assert.deepEqual([...found.keys()].sort(), [...expected.keys()].sort());
      for (const [key, item] of expected) assert.deepEqual(found.get(key), item, key);
    }),
    { numRuns: 150 },
  );
});

test('what an event does not concern stays the same object', () => {
  fc.assert(
    fc.property(history, ({ events }) => {
      const [lived, memo] = [new History(), new Memo()];
      for (const { each } of events) {
        lived.take(each);
        const before = held(lived, memo);
        lived.take(each);
        for (const [key, item] of held(lived, memo)) assert.equal(item, before.get(key), key);
      }
    }),
    { numRuns: 30 },
  );
});
