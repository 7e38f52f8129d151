import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { resolverOf } from '../../src/backends/vxlan-miss.ts';
import { factsOf, nodesOf, type Plan, selfOf } from '../backends/cluster.ts';
import { composedState } from '../desired/composed.ts';
import { Namespace, NO_KERNEL, Running } from './namespace.ts';

const PLAN: Plan = { size: 2, families: [4, 6], backend: { Type: 'vxlan', onDemand: true }, networks: 1 };

test('misses are answered with entries that age; the reconciler leaves them alone', {
  skip: NO_KERNEL,
}, async () => {
  using first = new Namespace(PLAN);
  using second = new Namespace(PLAN, [], 1);
  first.join(second);
  const resolve = resolverOf(nodesOf(PLAN), 1);
  using here = new Running(first, { resolve });
  using there = new Running(second, { resolve });
  here.want(composedState(factsOf(PLAN, 0)).items);
  there.want(composedState(factsOf(PLAN, 1)).items);
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
    // The first packets may be lost while the miss is being answered.
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

test('a peer that changes address and MAC is found immediately, not only after its entries have aged out', {
  skip: NO_KERNEL,
}, async () => {
  using namespace = new Namespace(PLAN);
  const nodes = nodesOf(PLAN);
  const moved = selfOf(PLAN, 1, 1).node;
  let resolve = resolverOf(nodes, 1);
  using running = new Running(namespace, { resolve: (miss) => resolve(miss) });
  running.want(composedState(factsOf(PLAN, 0)).items);
  await running.settled();
  const pods = { 'flannel.1': '10.0.2.7', 'flannel-v6.1': 'fd10:0:0:2::7' };
  for (const ip of Object.values(pods)) {
    // No node answers.
    await assert.rejects(namespace.start('ping', '-c', '1', '-W', '0.3', ip));
  }
  const entries = () =>
    Object.keys(pods)
      .map((dev) => namespace.ip(`neigh show dev ${dev}`) + namespace.bridge(`fdb show dev ${dev}`))
      .join('');
  for (const address of Object.values(nodes[1]?.addresses ?? {})) {
    assert.match(entries(), new RegExp(`dst ${address} self`));
  }
  resolve = resolverOf([{ ...moved, subnets: nodes[1]?.subnets ?? [] }], 1);
  running.reconciler.answersChanged();
  await sleep(100);
  for (const [family, dev] of [
    [4, 'flannel.1'],
    [6, 'flannel-v6.1'],
  ] as const) {
    const { VtepMAC = '' } = Object(moved.backend.data[family]);
    assert.match(entries(), new RegExp(`${pods[dev]} lladdr ${VtepMAC}`));
    assert.match(entries(), new RegExp(`${VtepMAC} dst ${moved.addresses[family]} self`));
  }
});
