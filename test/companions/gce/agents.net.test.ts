import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isWell } from '../../../src/agent/status.ts';
import { stopAgent } from '../../../src/lab/machine/agent.ts';
import { NO_KERNEL } from '../../state/namespace.ts';
import { eventually } from '../../store/servers.ts';
import { API, CloudLab, NODES } from '../cloud-lab.ts';
import { Google } from './stand-in.ts';

test('agents whose pods reach each other by what they write into a network of Compute Engine', {
  skip: NO_KERNEL,
  timeout: 120_000,
}, async (t) => {
  const google = await Google.start(API);
  t.after(() => google[Symbol.asyncDispose]());
  for (const [name, ip] of Object.entries(NODES)) google.run(`vm-${name}`, ip);
  const cloud = await CloudLab.start(t, {
    network: { Network: '10.96.0.0/16' },
    backend: 'gce',
    forwarding: async () => google.forwarding,
    serveIn: (netns) => google.serveIn(netns),
  });
  for (const node of Object.keys(NODES))
    await cloud.until(node, (status, text) => isWell(status) && status.backend === 'gce' && text === '');
  assert.equal((await cloud.unreached(300)).length, 2);
  assert.deepEqual([...(await cloud.route()).values()].sort(), Object.values(NODES));
  assert.deepEqual(await cloud.unreached(), []);

  const message = "Required 'compute.routes.list' permission for 'projects/host-project'";
  google.refusal = { status: 403, reason: 'forbidden', message, id: 'compute.routes.list' };
  await cloud.restart('node1');
  await cloud.until(
    'node1',
    (status, text) => isWell(status) && /cannot be checked; .*grant compute\.routes\.list/.test(text),
  );
  assert.equal((await cloud.route()).size, 2);
  google.refusal = undefined;
  await cloud.until('node1', (_, text) => text === '');

  await stopAgent(cloud.lab, 'node2', 'stop');
  await cloud.forget('node2');
  await eventually(async () => (await cloud.route()).size === 1, 10_000);
  assert.deepEqual([...(await cloud.route()).values()], [NODES.node1]);
  assert.deepEqual(google.faults, []);
});
