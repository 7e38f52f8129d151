import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { type Attachment, Attachments } from '../../../src/cni/records/attachment.ts';
import { loadAttachments } from '../../../src/cni/records/local-pod.ts';
import { podAlias } from '../../../src/wiring/pod-device.ts';

const RECORD: Attachment = {
  network: 'n',
  containerId: 'c',
  ifName: 'eth0',
  role: 'interface',
  state: 'adding',
  netns: '/run/netns/c',
  netnsId: 1,
  bootId: 'b',
  dir: '',
  addresses: [],
};

test('a record that a full disk does not take: the error says which file', (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'flatnet-attachment-'));
  t.after(() => rmSync(dir, { recursive: true }));
  const path = join(dir, 'attachments', 'n:c:eth0:interface.json');
  mkdirSync(join(dir, 'attachments'));
  symlinkSync('/dev/full', path);
  assert.throws(
    () => new Attachments(dir).write(RECORD),
    ({ code, errno, message }: { code: string; errno: string; message: string }) =>
      code === 'IO' && errno === 'ENOSPC' && message.includes(path),
  );
});

/** What agents wrote before pods had labels: the pod is one string. */
const OLD = {
  'cbr0:pod-0:eth0:interface.json':
    '{"network":"cbr0","containerId":"pod-0","ifName":"eth0","role":"interface","state":"ready",' +
    '"netns":"/run/netns/a","netnsId":4026532247,"bootId":"dde6fac8-027c-4cab-89e5-031fd2995298",' +
    '"pod":"default/web-0","dir":"/var/lib/cni/networks/cbr0","addresses":["10.90.1.2/24","fd00:90:1::2/64"],' +
    '"hostDevice":"veth4c69e21cdd5","bridge":"cni0","hairpin":true,"managed":true,"mtu":1450}',
  'cbr0:pod-1:eth0:interface.json':
    '{"network":"cbr0","containerId":"pod-1","ifName":"eth0","role":"interface","state":"ready",' +
    '"netns":"/run/netns/b","netnsId":4026532389,"bootId":"dde6fac8-027c-4cab-89e5-031fd2995298",' +
    '"pod":"default/web-1","dir":"","handle":"k8s-pod-network.pod-1.eth0","addresses":["10.90.1.2/32"],' +
    '"hostDevice":"cali0d7763386da","wiring":"routed","managed":true,"mtu":1450,"borrowed":["10.90.1.2"]}',
};

test('records of agents from before pods had labels are read', (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'flatnet-attachment-'));
  t.after(() => rmSync(dir, { recursive: true }));
  mkdirSync(join(dir, 'attachments'));
  for (const [name, text] of Object.entries(OLD)) writeFileSync(join(dir, 'attachments', name), text);
  const [bridged, routed] = loadAttachments(dir);
  assert.deepEqual(bridged, {
    containerId: 'pod-0',
    ifName: 'eth0',
    namespace: 'default',
    name: 'web-0',
    labels: {},
    hostDevice: 'veth4c69e21cdd5',
    netns: '/run/netns/a',
    addresses: ['10.90.1.2', 'fd00:90:1::2'],
  });
  assert.deepEqual(
    [routed?.wiring, routed?.borrowed, routed?.namespace],
    ['routed', ['10.90.1.2'], 'default'],
  );
  // The device is known by it.
  assert.equal(routed && podAlias(routed), 'flatnet default/web-1 pod-1 eth0');
  const records = new Attachments(dir);
  for (const record of records.list()) if (record.state !== 'damaged') records.write(record);
  assert.deepEqual(loadAttachments(dir), [bridged, routed]);
});
