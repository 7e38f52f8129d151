import assert from 'node:assert/strict';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { HostLocal } from '../../../src/ipam/host-local.ts';
import { rangeOf } from '../../../src/ipam/ranges.ts';
import { call, eventually, Host, leftovers, must, Pod, pings, request } from '../host.ts';

test('garbage collection leaves intact pods and running calls alone', async () => {
  await using host = new Host({ subnets: ['10.90.1.0/24'], networks: [] });
  using whole = new Pod();
  using gone = new Pod();
  await must(host, 'ADD', { pod: whole, id: 'whole' });
  await must(host, 'ADD', { pod: gone, id: 'gone' });
  gone[Symbol.dispose]();
  await eventually('the kernel took the veth with its namespace', () => leftovers(host).length === 5);
  // A pending ADD of a second interface of the pod.
  const busy = host.service.handle(request('ADD', { pod: whole, id: 'whole', ifName: 'eth1' }));
  const collected = host.service.collectGarbage();
  assert.equal((await busy).exit, 0);
  await collected;
  assert.deepEqual([...host.pods.keys()].sort(), ['whole eth0', 'whole eth1']);
  assert.ok(pings(host.netns, '10.90.1.2'));
  assert.ok(existsSync(join(host.dataDir, 'cbr0', '10.90.1.2')));
  assert.ok(
    !existsSync(join(host.dataDir, 'cbr0', '10.90.1.3')),
    'the address of the pod that is gone is free',
  );
});

test('other plugins’ reservations stay until the runtime no longer lists them', async () => {
  await using host = new Host({ subnets: ['10.90.1.0/24'], networks: [] });
  const flannels = HostLocal.open(join(host.dataDir, 'cbr0'), [[rangeOf(host.subnets[0] ?? assert.fail())]]);
  flannels.allocate({ containerId: 'made-by-flannel', ifName: 'eth0' });
  await host.service.collectGarbage();
  assert.equal(flannels.list().length, 1);
  const valid = [{ containerID: 'made-by-flannel', ifname: 'eth0' }];
  await must(host, 'GC', { conf: { 'cni.dev/valid-attachments': valid } });
  assert.equal(flannels.list().length, 1);
  const refused = await call(host, 'GC', { conf: { 'cni.dev/valid-attachments': 'x' } });
  assert.equal(refused.out?.code, 7);
  await must(host, 'GC', { conf: { 'cni.dev/attachments': [] } });
  assert.equal(flannels.list().length, 0);
});

test('a thousand attachments are scanned in one pass', async () => {
  await using host = new Host({ subnets: ['10.90.1.0/24'] });
  using pod = new Pod();
  await must(host, 'ADD', { pod, id: 'first' });
  const dir = join(host.stateDir, 'attachments');
  const text = readFileSync(join(dir, 'cbr0:first:eth0:interface.json'), 'utf8');
  for (let i = 0; i < 1000; i++) {
    const record = { ...JSON.parse(text), containerId: `c${i}` };
    writeFileSync(join(dir, `cbr0:c${i}:eth0:interface.json`), JSON.stringify(record));
  }
  const start = performance.now();
  await host.service.collectGarbage();
  const took = performance.now() - start;
  // Reading all records for each record took 22 seconds; one pass takes 0.05.
  assert.ok(took < 5000, `${took} ms`);
  assert.equal(leftovers(host).length, 1000 + 3);
});
