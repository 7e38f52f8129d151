import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { desiredState } from '../../src/backends/desired.ts';
import { resolver } from '../../src/backends/vxlan-miss.ts';
import { factsOf, nodesOf, type Plan, selfOf } from '../backends/cluster.ts';
import { Namespace, NO_KERNEL, Running } from './namespace.ts';

const PLAN: Plan = { size: 2, families: [4, 6], backend: { Type: 'vxlan', onDemand: true }, networks: 1 };

test('the kernel asks, and gets entries that age; the reconciler leaves them alone', {
  skip: NO_KERNEL,
}, async () => {
  using first = new Namespace(PLAN);
  using second = new Namespace(PLAN, [], 1);
  first.join(second);
  const resolve = resolver(nodesOf(PLAN), { vni: 1 });
  using here = new Running(first, { resolve });
  using there = new Running(second, { resolve });
  here.want(desiredState(factsOf(PLAN, 0)).items);
  there.want(desiredState(factsOf(PLAN, 1)).items);
  await here.settled();
  await there.settled();
  assert.equal(first.bridge('fdb show dev flannel.1').trim(), '');
  for (const [family, dev] of [
    [4, 'flannel.1'],
    [6, 'flannel-v6.1'],
  ] as const) {
    const subnet = selfOf(PLAN, 1).node.subnets[family === 4 ? 0 : 1] ?? '';
    const target = subnet.replace(/0?\/.*$/, '1');
    first.ip('link set lo up');
    await sleep(100);
    // The first packets may be lost while the question is answered.
    await first.start('ping', `-${family}`, '-c', '3', '-i', '0.3', '-W', '1', target);
    const neighbours = first.ip(`-${family} neigh show dev ${dev}`);
    assert.match(neighbours, new RegExp(`^${target} lladdr \\S+ REACHABLE`, 'm'));
    assert.doesNotMatch(neighbours, /PERMANENT/);
    const fdb = first.bridge(`fdb show dev ${dev}`);
    assert.match(fdb, new RegExp(`dst ${selfOf(PLAN, 1).node.addresses[family]} self`));
    assert.doesNotMatch(fdb, /permanent/);
  }
  const { done } = await here.reconciler.run();
  assert.deepEqual(done, []);
  first.ip('link set flannel.1 mtu 1300');
  await here.settled();
  assert.match(first.ip('neigh show dev flannel.1'), /REACHABLE/);
});
