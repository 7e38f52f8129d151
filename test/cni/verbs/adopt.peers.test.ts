import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { decodeResult } from '../../../src/cni/protocol/result.ts';
import { isIp } from '../../../src/ip/address.ts';
import { parseMac } from '../../../src/ip/mac.ts';
import { netnsId } from '../../../src/linux/netns.ts';
import { call, Host, ipOne, must, Pod } from '../host.ts';
import { NO_REFERENCE, reference } from '../reference.ts';

type Made = { readonly pod: Pod; readonly id: string; readonly record: Record<string, unknown> };

/** A node of flannel's with pods that the reference plugins have made, and for each the record to propose. */
async function nodeWith(t: TestContext, ...ids: string[]): Promise<{ host: Host; pods: Made[] }> {
  const host = new Host({ subnets: ['10.90.1.0/24'], networks: ['10.90.0.0/16'] });
  t.after(() => host[Symbol.asyncDispose]());
  return { host, pods: ids.map((id) => make(t, host, id)) };
}

function make(t: TestContext, host: Host, id: string, name = 'cbr0'): Made {
  const pod = new Pod();
  t.after(() => pod[Symbol.dispose]());
  const ipam = { type: 'host-local', dataDir: host.dataDir, ranges: [[{ subnet: '10.90.1.0/24' }]] };
  const conf = {
    cniVersion: '1.0.0',
    name,
    type: 'bridge',
    bridge: 'cni0',
    isGateway: true,
    hairpinMode: true,
    ipam,
  };
  const { exit, out } = reference(host, 'bridge', 'ADD', { pod, id, conf });
  assert.equal(exit, 0, JSON.stringify(out));
  const [, outside, inside] = decodeResult(out ?? {}).interfaces;
  const record = {
    network: 'cbr0',
    containerId: id,
    ifName: 'eth0',
    role: 'interface',
    state: 'ready',
    netns: pod.path,
    netnsId: netnsId(pod.path),
    bootId: '',
    dir: '',
    addresses: [],
    hostDevice: outside?.name,
    bridge: 'cni0',
    mtu: 1450,
    hairpin: true,
    mac: inside?.mac,
    pod: { namespace: 'default', name: id, labels: {} },
  };
  return { pod, id, record };
}

const title = (id: string): string => `default/${id}`;

test('an adopted pod is followed, freed by DEL, and its record rebuilt', {
  skip: NO_REFERENCE,
}, async (t) => {
  const { host, pods } = await nodeWith(t, 'a', 'b');
  await host.service.collectGarbage();
  assert.deepEqual(
    host.service.problems.map(({ id }) => id),
    ['pods-not-adopted'],
  );
  const proposed = pods.map(({ record }) => record);
  assert.deepEqual(await host.service.adopt(proposed), {
    adopted: pods.map(({ id }) => title(id)),
    refused: [],
  });
  assert.deepEqual(host.service.problems, []);
  for (const { record, id } of pods) {
    const known = host.pods.get(`${id} eth0`);
    assert.equal(known?.mac, parseMac(String(record.mac)));
    assert.equal(known?.foreign, undefined);
    assert.equal(known?.addresses.length, 1);
  }
  assert.deepEqual((await host.service.adopt(proposed)).refused, [], 'once more changes nothing');

  // Lost records come back by the reservation and the alias.
  const before = host.pods.get('a eth0');
  const records = join(host.stateDir, 'attachments');
  for (const name of readdirSync(records)) if (name.endsWith('.json')) rmSync(join(records, name));
  host.pods.clear();
  await host.service.collectGarbage();
  assert.deepEqual(host.pods.get('a eth0')?.addresses, before?.addresses);
  assert.equal(host.pods.get('a eth0')?.hostDevice, before?.hostDevice);

  for (const { pod, id } of pods) {
    await must(host, 'DEL', { pod, id });
    assert.equal(host.pods.get(`${id} eth0`), undefined);
  }
  assert.ok(!existsSync(join(host.dataDir, 'cbr0', '10.90.1.2')));
  assert.ok(!existsSync(join(host.dataDir, 'cbr0', '10.90.1.3')));
});

test('nothing is adopted on a word that the kernel does not confirm', { skip: NO_REFERENCE }, async (t) => {
  const { host, pods } = await nodeWith(t, 'a', 'b');
  const [a, b] = pods;
  assert.ok(a && b);
  const wrong: readonly (readonly [unknown, RegExp])[] = [
    [{ ...a.record, hostDevice: b.record.hostDevice }, /not what it was/],
    [{ ...a.record, netns: b.record.netns, netnsId: b.record.netnsId }, /not what it was/],
    [{ ...a.record, netnsId: 1 }, /not what it was/],
    [{ ...a.record, ifName: 'eth7' }, /not what it was/],
    [{ ...a.record, containerId: 'stranger' }, /no reservation/],
    // Another pod's, and one whose reservation could not be moved.
    [{ ...a.record, addresses: ['10.90.1.3/24'] }, /10.90.1.3 is not reserved for it/],
    [{ ...a.record, addresses: ['10.90.1.2/32', 'fd00::5/128'] }, /fd00::5 is not reserved for it/],
    [{ ...a.record, mac: 'x' }, /mac/],
    [{}, /network/],
    [7, /./],
  ];
  for (const [record, reason] of wrong) {
    const { adopted, refused } = await host.service.adopt([record]);
    assert.deepEqual(adopted, []);
    assert.match(refused[0] ?? '', reason);
  }
  assert.deepEqual(await host.service.adopt('rubbish'), { adopted: [], refused: [] });
  assert.equal(host.pods.size, 0);
  assert.equal(ipOne(host.netns, 'link', 'show', String(a.record.hostDevice)).ifalias, undefined);

  await host.service.adopt([{ ...a.record, addresses: ['10.90.1.2/32'] }]);
  assert.deepEqual(host.pods.get('a eth0')?.addresses, ['10.90.1.2']);
});

test('a pod of flannel’s is freed by DEL without a takeover, too', { skip: NO_REFERENCE }, async (t) => {
  const { host, pods } = await nodeWith(t, 'a');
  const [a] = pods;
  assert.ok(a);
  assert.equal((await call(host, 'DEL', { pod: a.pod, id: 'a' })).exit, 0);
  assert.ok(!existsSync(join(host.dataDir, 'cbr0', '10.90.1.2')));
});

test('a pod of flannel’s is freed by DEL before a takeover has moved its reservation to our network', {
  skip: NO_REFERENCE,
}, async (t) => {
  const { host } = await nodeWith(t);
  const [a, b] = ['a', 'b'].map((id) => make(t, host, id, 'my-flannel'));
  assert.ok(a && b);
  const files = () => readdirSync(join(host.dataDir, 'my-flannel')).filter((file) => isIp(file));
  assert.deepEqual(files(), ['10.90.1.2', '10.90.1.3']);
  // Of another interface of that container, in another network, and of one whose file does not say which.
  const others = join(host.dataDir, 'other');
  mkdirSync(others);
  writeFileSync(join(others, '192.0.2.7'), 'a\r\nnet1');
  writeFileSync(join(others, '192.0.2.8'), 'a');
  await must(host, 'DEL', { pod: a.pod, id: 'a' });
  assert.deepEqual(files(), ['10.90.1.3']);
  assert.deepEqual(readdirSync(others), ['192.0.2.7', '192.0.2.8']);
  await must(host, 'DEL', { pod: a.pod, id: 'a' });
  assert.deepEqual(files(), ['10.90.1.3']);
});

test('nothing is adopted with another’s MAC', { skip: NO_REFERENCE }, async (t) => {
  const { host, pods } = await nodeWith(t, 'a', 'b');
  const [a, b] = pods;
  assert.ok(a && b);
  // Only a pod that nobody but itself knows the MAC of can have one that is another's.
  const shown = { ...b.record, lost: ['mac'] };
  const refusal = async (mac: unknown): Promise<string> => {
    const { adopted, refused } = await host.service.adopt([{ ...shown, mac }]);
    assert.deepEqual(adopted, []);
    return refused[0] ?? '';
  };
  assert.match(await refusal(a.record.mac), /its MAC .* is that of (something behind veth|eth0 in )/);
  assert.match(await refusal(ipOne(host.netns, 'link', 'show', 'cni0').address), /the node’s device cni0$/);
  assert.equal(host.pods.size, 0);

  // What the runtime remembers is not taken from its pod by another that shows it.
  setMac(b.pod, String(a.record.mac));
  assert.deepEqual((await host.service.adopt([a.record])).refused, []);
  assert.match(await refusal(a.record.mac), /its MAC .* is that of default\/a$/);
  assert.deepEqual((await host.service.adopt([b.record])).refused, []);
  assert.equal(host.pods.get('b eth0')?.mac, parseMac(String(b.record.mac)));
});

function setMac(pod: Pod, mac: string): void {
  execFileSync('ip', ['-n', pod.name, 'link', 'set', 'eth0', 'address', mac]);
}

test('a crash between the record and the alias is made up for', { skip: NO_REFERENCE }, async (t) => {
  const { host, pods } = await nodeWith(t, 'a');
  const [a] = pods;
  assert.ok(a);
  const device = String(a.record.hostDevice);
  const alias = () => ipOne(host.netns, 'link', 'show', device).ifalias;
  await host.service.adopt([a.record]);
  assert.equal(alias(), 'flatnet default/a a eth0');
  execFileSync('ip', ['-n', host.netns.replace(/.*\//, ''), 'link', 'set', device, 'alias', '']);
  assert.equal(alias(), undefined);
  assert.deepEqual((await host.service.adopt([a.record])).refused, []);
  assert.equal(alias(), 'flatnet default/a a eth0');
});
