import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { LocalPod } from '../../src/cluster/node.ts';
import { podGuardItems } from '../../src/guard/guard.ts';
import { parseIp } from '../../src/ip/address.ts';
import { parseMac } from '../../src/ip/mac.ts';
import { command } from '../../src/state/print.ts';

const FACTS = { network: { wiring: 'bridge' }, families: [4, 6], decapsulates: {} } as const;
const POD: LocalPod = {
  containerId: 'c',
  labels: {},
  ifName: 'eth0',
  hostDevice: 'veth1',
  netns: '/n',
  addresses: [],
};
const MAC = parseMac('02:00:00:00:00:07');

function setsOf(pod: LocalPod): string[] {
  return podGuardItems(pod, FACTS).map(
    (item) => / flatnet-bridge (\S+) /.exec(command(item, 'add'))?.[1] ?? '',
  );
}

test('a pod on the bridge of which too little is known may send nothing', () => {
  assert.deepEqual(setsOf(POD), ['ports'], 'not with any MAC');
  assert.deepEqual(setsOf({ ...POD, addresses: [parseIp('10.0.1.7')] }), ['ports']);
  assert.deepEqual(setsOf({ ...POD, mac: MAC }), ['ports', 'macs', 'options6'], 'nor from any address');
  assert.deepEqual(setsOf({ ...POD, mac: MAC, addresses: [parseIp('10.0.1.7')] }).toSorted(), [
    'macs',
    'options6',
    'ports',
    'senders4',
    'sources4',
  ]);
});

test('a pod that another plugin attached, or on another bridge, is left alone', () => {
  assert.deepEqual(setsOf({ ...POD, foreign: true }), []);
  assert.deepEqual(setsOf({ ...POD, bridge: 'br7' }), []);
  assert.deepEqual(setsOf({ ...POD, foreign: true, bridge: 'cni0' }), ['ports']);
});
