import assert from 'node:assert/strict';
import { test } from 'node:test';
import { currentStatus } from '../../src/agent/older-status.ts';
import type { AgentStatus } from '../../src/agent/status.ts';

const STATUS = {
  node: 'node1',
  ready: true,
  pid: 1,
  subnets: [],
  mtu: 1450,
  peers: 0,
  pods: [],
  store: { connected: true },
};

test('the lines of an agent from before problems had a type become problems', () => {
  const older = {
    ...STATUS,
    notReady: 'the kernel refuses a: no',
    reconcile: { runs: 1, lastChanges: 0, failures: ['a: no', 'b: no'], unguarded: undefined },
    warnings: ['beware'],
  };
  const { problems, ...rest } = currentStatus(older);
  assert.deepEqual(
    problems.map(({ what }) => what),
    ['b: no', 'beware'],
  );
  assert.ok(!('warnings' in rest));
});

test('an answer of this release stays as it is', () => {
  const status: AgentStatus = {
    ...STATUS,
    reconcile: { runs: 1, lastChanges: 0, failures: [], unguarded: undefined },
    problems: [{ id: 'no-subnet', severity: 'error', what: 'no subnet' }],
  };
  assert.deepEqual(currentStatus(status), status);
});
