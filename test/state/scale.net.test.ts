import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { createMemo, desiredState } from '../../src/backends/desired.ts';
import type { Node } from '../../src/cluster/node.ts';
import { factsOf, type Plan, selfOf } from '../backends/cluster.ts';
import { Namespace, Running } from './namespace.ts';

const PLAN: Plan = { size: 5000, families: [4], backend: { Type: 'vxlan' }, networks: 1 };

test('5,000 peers: there within seconds, one change in milliseconds and without reading the kernel', async (t) => {
  using namespace = new Namespace(PLAN);
  const facts = factsOf(PLAN);
  const memo = createMemo();
  using running = new Running(namespace);
  const begin = performance.now();
  running.want(desiredState(facts, memo).items);
  // What allowPrune and start set off may be under way already: this is the run after it.
  await running.reconciler.run();
  const start = performance.now() - begin;
  t.diagnostic(`start: ${Math.round(start)} ms`);
  await running.settled(5000);
  await sleep(1000);
  const times: number[] = [];
  for (let i = 1; i <= 15; i++) {
    const moved: Node = { ...selfOf(PLAN, i * 7, 1).node, name: `node${i * 7}` };
    const peers = facts.peers.map((peer, n) => (n === i * 7 ? moved : peer));
    const changed = performance.now();
    running.reconciler.setDesired(desiredState({ ...facts, peers }, memo).items);
    const report = await running.reconciler.run();
    times.push(performance.now() - changed);
    assert.equal(report.full, false);
    assert.ok(report.done.length >= 6 && report.done.length <= 12, `${report.done.length} changes`);
    await sleep(20);
  }
  times.sort((a, b) => a - b);
  const median = times[7] ?? 0;
  t.diagnostic(`one change: median ${median.toFixed(1)} ms, worst ${times.at(-1)?.toFixed(1)} ms`);
  // Twice the budget, as others may be busy here; the benchmark holds it to the budget itself.
  assert.ok(start < 4000, `start took ${start} ms`);
  assert.ok(median < 40, `a change took ${median} ms`);
});
