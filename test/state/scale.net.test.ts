import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Node } from '../../src/cluster/node.ts';
import { desiredState } from '../../src/desired/desired.ts';
import { Memo } from '../../src/desired/memo.ts';
import { factsOf, type Plan, selfOf } from '../backends/cluster.ts';
import { Namespace, NO_KERNEL, Running } from './namespace.ts';

const PLAN: Plan = { size: 5000, families: [4], backend: { Type: 'vxlan' }, networks: 1 };

test('5,000 peers: in place within seconds; one change takes milliseconds and no read of the kernel', {
  skip: NO_KERNEL,
}, async (t) => {
  using namespace = new Namespace(PLAN);
  const facts = factsOf(PLAN);
  const memo = new Memo();
  using running = new Running(namespace);
  const begin = performance.now();
  const cpuBegin = cpu();
  running.wantAll(desiredState(facts, memo).contributions);
  // Runs triggered by allowPrune and start may already be in progress: this is the run after them.
  await running.reconciler.run();
  const start = performance.now() - begin;
  const startCpu = cpu() - cpuBegin;
  t.diagnostic(`start: ${Math.round(start)} ms, of CPU ${Math.round(startCpu)} ms`);
  await running.settled(5000);
  await sleep(1000);
  const times: number[] = [];
  const costs: number[] = [];
  for (let i = 1; i <= 15; i++) {
    const moved: Node = { ...selfOf(PLAN, i * 7, 1).node, name: `node${i * 7}` };
    const peers = facts.peers.map((peer, n) => (n === i * 7 ? moved : peer));
    const changed = performance.now();
    const before = cpu();
    running.reconciler.setDesired(desiredState({ ...facts, peers }, memo).contributions);
    const report = await running.reconciler.run();
    times.push(performance.now() - changed);
    costs.push(cpu() - before);
    assert.equal(report.full, false);
    assert.ok(report.done.length >= 8 && report.done.length <= 16, `${report.done.length} changes`);
    await sleep(20);
  }
  const median = (values: number[]): number => values.toSorted((a, b) => a - b)[7] ?? 0;
  t.diagnostic(`one change: ${median(times).toFixed(1)} ms, of CPU ${median(costs).toFixed(1)} ms`);
  // CPU time, as the machine may be busy; the benchmark measures elapsed time.
  assert.ok(startCpu < 3000, `start took ${startCpu} ms of CPU`);
  assert.ok(median(costs) < 30, `a change took ${median(costs)} ms of CPU`);
});

/** CPU time of this process in milliseconds. */
function cpu(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}
