import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { PolicyLog } from '../../../src/agent/policy/log.ts';
import { PolicyWatch } from '../../../src/agent/policy/watch.ts';
import type { LocalPod } from '../../../src/cluster/node.ts';
import { parseIp } from '../../../src/ip/address.ts';
import { SILENT } from '../../../src/log.ts';
import type { NodePolicies } from '../../../src/policy/node/contributions.ts';
import { WEB } from '../../policy/observe/policies.ts';
import { inForceFor } from './in-force.ts';

const NAMES = new Map([[parseIp('10.0.0.1'), 'web']]);

function watchOf(node: () => NodePolicies | undefined): PolicyWatch {
  return new PolicyWatch(node, new PolicyLog({ node, log: SILENT }), () => '');
}

test('a change takes from when it is known until the kernel holds it; others say nothing about it', async () => {
  const watch = watchOf(() => undefined);
  const [first, second] = [{}, {}];
  watch.learned(undefined);
  watch.settled(undefined);
  assert.equal(watch.lastChange, undefined);
  watch.learned(first);
  await sleep(30);
  watch.learned(first);
  watch.settled(second);
  assert.equal(watch.lastChange, undefined, 'that is not in the kernel yet');
  watch.settled(first);
  const { lastChange = 0 } = watch;
  assert.ok(lastChange >= 0.029, `${lastChange}`);
  watch.learned(first);
  watch.settled(first);
  assert.equal(watch.lastChange, lastChange);
  watch.learned(second);
  watch.settled(second);
  assert.ok((watch.lastChange ?? 1) < lastChange);
});

test('whoever asks for denied connections learns why there are none', () => {
  const note = (node: NodePolicies | undefined) => watchOf(() => node).flows(0).note;
  assert.equal(note(undefined), 'no policies are in force here');
  assert.match(note(inForceFor(NAMES, [WEB])) ?? '', /set policy to \{"logDenied": true\}/);
  assert.match(note(inForceFor(NAMES, [WEB], { group: 1, denied: false })) ?? '', /are not logged/);
  assert.equal(note(inForceFor(NAMES, [WEB], { group: 1, denied: true })), undefined);
});

test('a connection is explained as the node judges it; not while nobody knows whose policies count', () => {
  const known = inForceFor(NAMES, [WEB]);
  const question = { from: '192.0.2.1', to: 'web', protocol: 'tcp', port: 1 } as const;
  assert.throws(() => watchOf(() => undefined).explain(question), { code: 'NOT_FOUND' });
  assert.equal(watchOf(() => known).explain(question).verdict, 'denied');
  const late: LocalPod = {
    namespace: 'default',
    name: 'late',
    labels: {},
    containerId: 'late',
    ifName: 'eth0',
    netns: '/n',
    addresses: [parseIp('10.0.0.9')],
  };
  const watch = watchOf(() => ({ ...known, waiting: [late] }));
  for (const to of ['late', 'default/late', '10.0.0.9'])
    assert.throws(() => watch.explain({ ...question, to }), {
      code: 'NOT_FOUND',
      object: to.replace(/^late/, 'default/late'),
    });
});
