import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
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

test('on a full disk the error names the record’s file', (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'flatnet-attachment-'));
  t.after(() => rmSync(dir, { recursive: true }));
  const path = join(dir, 'attachments', 'n:c:eth0:interface.json');
  mkdirSync(join(dir, 'attachments'));
  symlinkSync('/dev/full', path);
  symlinkSync('/dev/full', join(dir, 'attachments', 'spare.0'));
  for (const state of ['adding', 'ready'] as const) {
    assert.throws(
      () => new Attachments(dir).write({ ...RECORD, state }),
      ({ code, errno, message }: { code: string; errno: string; message: string }) =>
        code === 'IO' && errno === 'ENOSPC' && message.includes(path),
    );
  }
});

/** The format before pods had labels: the pod is a single string. */
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

test('records from before pods had labels can be read', (t) => {
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
    netnsId: 4026532247,
    addresses: ['10.90.1.2', 'fd00:90:1::2'],
    subnets: ['10.90.1.0/24', 'fd00:90:1::/64'],
    bridge: 'cni0',
  });
  assert.deepEqual(
    [routed?.wiring, routed?.borrowed, routed?.namespace],
    ['routed', ['10.90.1.2'], 'default'],
  );
  // It identifies the device.
  assert.equal(routed && podAlias(routed), 'flatnet default/web-1 pod-1 eth0');
  const records = new Attachments(dir);
  for (const record of records.list()) if (record.state !== 'damaged') records.write(record);
  assert.deepEqual(loadAttachments(dir), [bridged, routed]);
});

test('the file of a deleted record is reused, also by a later process', (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'flatnet-attachment-'));
  t.after(() => rmSync(dir, { recursive: true }));
  const names = (): string[] => readdirSync(join(dir, 'attachments')).sort();
  const record = (i: number): Attachment => ({ ...RECORD, containerId: `c${i}`, netns: 'n'.repeat(100 - i) });
  for (let run = 0; run < 2; run++) {
    const records = new Attachments(dir);
    for (let i = 0; i < 100; i++) records.write(record(i));
    assert.equal(names().filter((name) => name.endsWith('.json')).length, 100);
    assert.deepEqual(records.list().length, 100);
    for (let i = 0; i < 100; i++) records.remove(record(i));
    records.remove(record(0));
    assert.deepEqual(records.list(), []);
    assert.equal(names().length, 64);
    for (let i = 99; i >= 90; i--) records.write(record(i));
    assert.equal(names().length, 64);
    assert.deepEqual(
      records.list(),
      Array.from({ length: 10 }, (_, i) => record(90 + i)),
    );
    for (let i = 90; i < 100; i++) records.remove(record(i));
  }
});
