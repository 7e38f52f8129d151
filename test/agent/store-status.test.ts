import assert from 'node:assert/strict';
import { test } from 'node:test';
import { storeStatus, type Tenure, tenureProblems } from '../../src/agent/store-status.ts';
import { problemText } from '../../src/problem.ts';

const NOW = new Date(2026, 10, 28, 14, 0, 45);
const at = (second: number): Date => new Date(2026, 10, 28, 14, 0, second);
const said = (tenure: Tenure): string[] =>
  tenureProblems(tenure, NOW).map((each) => `${each.severity}: ${problemText(each)}`);

test('a claim that is renewed in time is no problem', () => {
  const renewal = { at: at(40), expires: at(50) };
  const tenure: Tenure = { standing: 'confirmed', renewal, vacant: undefined, ttl: 10 };
  assert.deepEqual(said(tenure), []);
  const { connected, lastRenewal, leaseExpires } = storeStatus(tenure, NOW);
  assert.ok(connected);
  assert.deepEqual([lastRenewal, leaseExpires], [at(40).toISOString(), at(50).toISOString()]);
  const forever = { ...tenure, renewal: { at: at(1) } };
  assert.deepEqual([said(forever), storeStatus(forever, NOW).connected], [[], true]);
});

test('a lease that cannot be renewed says until when it holds, and one that ran out what peers did', () => {
  const problem = 'store keepalive at http://192.0.2.1:2379: connect ECONNREFUSED';
  const tenure = (renewed: number): Tenure => ({
    standing: 'confirmed',
    renewal: { at: at(renewed), expires: at(renewed + 10), problem },
    vacant: undefined,
    ttl: 10,
  });
  assert.deepEqual(said(tenure(40)), [
    `warning: this node’s lease cannot be renewed, and runs out at 14:00:50: it was last renewed at 14:00:40; ${problem}`,
  ]);
  assert.deepEqual(said(tenure(0)), [
    `error: this node’s lease ran out at 14:00:10: peers have dropped their routes to this node’s pods: it was last renewed at 14:00:00; ${problem}`,
  ]);
  for (const renewed of [0, 40]) assert.ok(!storeStatus(tenure(renewed), NOW).connected);
});

test('a node that works from memory says since when, and when its lease must have run out', () => {
  const tenure: Tenure = { standing: 'trusted', renewal: undefined, vacant: at(0), ttl: 60 };
  assert.match(said(tenure).join(), /^warning: the store has not confirmed .* since 14:00:00: it works from/);
  assert.match(
    said({ ...tenure, ttl: 10 }).join(),
    /^error: .* since 14:00:00: a lease lasts 10 s: peers have/,
  );
});
