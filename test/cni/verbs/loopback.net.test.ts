import assert from 'node:assert/strict';
import { test } from 'node:test';
import { call, Host, must, Pod } from '../host.ts';

test('loopback: ADD brings lo up, CHECK accepts it, DEL takes it down', async () => {
  await using host = new Host();
  using pod = new Pod();
  const conf = { type: 'loopback', name: 'cni-loopback', cniVersion: '0.3.1' };
  const { out } = await call(host, 'ADD', { pod, ifName: 'lo', conf });
  assert.deepEqual(out, {
    cniVersion: '0.3.1',
    interfaces: [{ name: 'lo', mac: '00:00:00:00:00:00', sandbox: pod.path }],
    ips: [
      { version: '4', interface: 0, address: '127.0.0.1/8' },
      { version: '6', interface: 0, address: '::1/128' },
    ],
    dns: {},
  });
  const check = { pod, ifName: 'lo', conf: { ...conf, cniVersion: '1.0.0', prevResult: out } };
  assert.equal((await call(host, 'CHECK', check)).exit, 0);
  await must(host, 'DEL', { pod, ifName: 'lo', conf });
  assert.match(String((await call(host, 'CHECK', check)).out?.msg), /down/);
  await must(host, 'DEL', { ifName: 'lo', conf });
});
