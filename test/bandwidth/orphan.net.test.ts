import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { test } from 'node:test';
import { bandwidthItems } from '../../src/bandwidth/limits.ts';
import { SILENT } from '../../src/log.ts';
import { Reconciler } from '../../src/state/reconciler.ts';
import { Namespace, NO_KERNEL } from '../state/namespace.ts';

const PLAN = { size: 2, families: [4], backend: { Type: 'host-gw' }, networks: 1 } as const;

test('a limit that is no longer wanted goes with its redirection, and the pod sends on', {
  skip: NO_KERNEL,
}, async () => {
  using node = new Namespace(PLAN, ['pod']);
  const netns = node.path;
  const pod = {
    hostDevice: 'pod',
    containerId: 'c',
    ifName: 'eth0',
    labels: {},
    netns: '',
    netnsId: 0,
    addresses: [],
    bandwidth: { egress: { rate: 1e6, burst: 65_536 } },
  };
  const owner = { part: 'pod', name: 'pod' } as const;
  const filters = () =>
    execFileSync('tc', ['-n', node.name, 'filter', 'show', 'dev', 'pod', 'parent', 'ffff:'], {
      encoding: 'utf8',
    });
  {
    using agent = new Reconciler({ netns, log: SILENT });
    agent.setDesired([{ owner, items: bandwidthItems(pod, 1500), warnings: [] }]);
    assert.deepEqual((await agent.run()).undone, []);
    assert.match(filters(), /Redirect to device ifb-/);
  }
  // Its record was lost with the copy: nobody knows of the limit.
  using agent = new Reconciler({ netns, log: SILENT });
  agent.setDesired([]);
  agent.allowPrune();
  await agent.run();
  assert.equal(node.ip('link show type ifb'), '');
  assert.equal(filters().trim(), '');
});
