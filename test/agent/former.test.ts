import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Former } from '../../src/agent/former.ts';
import { desiredState } from '../../src/desired/desired.ts';
import { factsOf, type Plan } from '../backends/cluster.ts';

const PLAN: Plan = { size: 3, families: [4, 6], networks: 1, backend: { Type: 'vxlan' } };

/** A former VXLAN backend, and the kinds of its items that concern each peer. */
function former() {
  const it = new Former();
  const { contributions } = desiredState(factsOf(PLAN));
  it.keep(contributions);
  const kindsOf = (peer: string): string[] => [
    ...new Set(
      it.contributions
        .filter(({ owner }) => owner.name === peer)
        .flatMap(({ items }) => items.map(({ kind }) => kind)),
    ),
  ];
  return { it, kindsOf };
}

test('nothing is sent through the former backend any more, but its packets are still received', () => {
  const { it, kindsOf } = former();
  assert.deepEqual(kindsOf('node1'), ['nft-element', 'fdb', 'neighbour', 'route']);
  const own = kindsOf('this node');
  assert.equal(it.dropPeers(new Set(['node2'])), true);
  assert.deepEqual(kindsOf('node1'), ['nft-element']);
  assert.deepEqual(kindsOf('node2'), ['nft-element', 'fdb', 'neighbour', 'route']);
  assert.equal(it.dropPeers(new Set(['node2'])), false);
  assert.equal(it.dropPeers(new Set()), true);
  assert.deepEqual(kindsOf('node2'), ['nft-element']);
  assert.deepEqual(kindsOf('this node'), own);
  assert.equal(it.drop(), true);
  assert.deepEqual(it.contributions, []);
  assert.equal(it.drop(), false);
});
