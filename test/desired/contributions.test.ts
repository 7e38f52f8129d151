import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { LocalPod, Node } from '../../src/cluster/node.ts';
import { desiredState, type Facts } from '../../src/desired/desired.ts';
import { Memo } from '../../src/desired/memo.ts';
import { nthIp } from '../../src/ip/cidr.ts';
import { Composition, type Contribution } from '../../src/state/contributions.ts';
import { factsOf, type Plan, selfOf } from '../backends/cluster.ts';

function podsOf({ self }: Facts, count: number): LocalPod[] {
  const [subnet] = self.node.subnets;
  assert.ok(subnet);
  return Array.from({ length: count }, (_, i) => ({
    containerId: `c${i}`,
    labels: {},
    ifName: 'eth0',
    hostDevice: `cali${i}`,
    netns: `/n${i}`,
    addresses: [nthIp(subnet, 2 + i)],
    wiring: 'routed',
  }));
}

function fresh(before: readonly Contribution[], after: readonly Contribution[]): string[] {
  const known = new Set(before);
  return after.filter((each) => !known.has(each)).map(({ owner }) => `${owner.part} ${owner.name}`);
}

for (const size of [10, 250, 2500]) {
  const plan: Plan = { size, families: [4, 6], backend: { Type: 'vxlan' }, networks: 1 };

  test(`an added pod, among ${size} peers and up to 250 pods, recomputes only its own contribution`, () => {
    const facts = factsOf(plan);
    const memo = new Memo();
    const composition = new Composition();
    for (const count of [1, 10, 240]) {
      const pods = podsOf(facts, count + 1);
      const last = pods.pop();
      assert.ok(last);
      const before = desiredState({ ...facts, pods }, memo).contributions;
      composition.update(before);
      // The agent recreates the facts about the node each time.
      const self = structuredClone(facts.self);
      const after = desiredState({ ...facts, self, pods: [...pods, last] }, memo).contributions;
      assert.deepEqual(fresh(before, after), [`pod ${last.containerId}`]);
      const own = after.find(({ owner }) => owner.name === last.containerId)?.items.length;
      assert.equal(composition.update(after).size, own);
    }
  });

  test(`one changed peer of ${size} recomputes only its own contribution`, () => {
    const facts = { ...factsOf(plan), pods: [] };
    const memo = new Memo();
    const composition = new Composition();
    const before = desiredState(facts, memo).contributions;
    composition.update(before);
    const moved: Node = { ...selfOf(plan, 3, 1).node, name: 'node3' };
    const peers = facts.peers.map((peer) => (peer.name === moved.name ? moved : peer));
    const after = desiredState({ ...facts, peers }, memo).contributions;
    assert.deepEqual(fresh(before, after), ['peer node3']);
    // Its old and its new items in each family: route, neighbour, FDB entry, permitted sender.
    assert.equal(composition.update(after).size, 2 * 2 * 4);
  });
}
