import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { call, Host, ip, Pod } from '../host.ts';

test('CHECK reports exactly what is wrong', async (t) => {
  const damage: Record<string, [RegExp, (host: Host, pod: Pod, device: string) => void]> = {
    'the address is gone': [
      /lacks the address 10\.90\.1\.2\/24/,
      (_h, pod) => ip(pod.name, 'addr', 'del', '10.90.1.2/24', 'dev', 'eth0'),
    ],
    'the IPv6 address is gone': [
      /lacks the address fd00/,
      (_h, pod) => ip(pod.name, 'addr', 'del', 'fd00:90:1::2/64', 'dev', 'eth0'),
    ],
    'the default route is gone': [
      /route to 0\.0\.0\.0\/0/,
      (_h, pod) => ip(pod.name, 'route', 'del', 'default'),
    ],
    'a route has the wrong gateway': [
      /route to 10\.90\.0\.0\/16|route to 0\.0\.0\.0\/0/,
      (_h, pod) => ip(pod.name, 'route', 'replace', 'default', 'via', '10.90.1.9'),
    ],
    'the interface is down': [/eth0 is down/, (_h, pod) => ip(pod.name, 'link', 'set', 'eth0', 'down')],
    'the interface is gone': [/eth0 is missing/, (_h, pod) => ip(pod.name, 'link', 'del', 'eth0')],
    'the MAC is wrong': [
      /has the MAC/,
      (_h, pod) => ip(pod.name, 'link', 'set', 'eth0', 'address', '02:00:00:00:00:09'),
    ],
    'the pod’s MTU is wrong': [/MTU 9000/, (_h, pod) => ip(pod.name, 'link', 'set', 'eth0', 'mtu', '9000')],
    'the host’s MTU is wrong': [
      /MTU 1400/,
      (host, _p, device) => ip(host.netns, 'link', 'set', device, 'mtu', '1400'),
    ],
    'the host’s end is off the bridge': [
      /not a port of cni0/,
      (host, _p, device) => ip(host.netns, 'link', 'set', device, 'nomaster'),
    ],
    'the host’s end is down': [
      /is down/,
      (host, _p, device) => ip(host.netns, 'link', 'set', device, 'down'),
    ],
    'hairpin is off': [
      /hairpin/,
      (host, _p, device) => ip(host.netns, 'link', 'set', device, 'type', 'bridge_slave', 'hairpin', 'off'),
    ],
    'the reservation is gone': [
      /reservation of 10\.90\.1\.2/,
      (host) => rmSync(join(host.dataDir, 'cbr0', '10.90.1.2')),
    ],
  };
  for (const [what, [message, breakIt]] of Object.entries(damage)) {
    await t.test(what, async () => {
      await using host = new Host();
      using pod = new Pod();
      const { out: prevResult } = await call(host, 'ADD', { pod });
      const [, device] = (prevResult?.interfaces ?? []) as { name: string }[];
      assert.equal((await call(host, 'CHECK', { pod, conf: { prevResult } })).exit, 0, 'right after ADD');
      breakIt(host, pod, device?.name ?? '');
      const { exit, out } = await call(host, 'CHECK', { pod, conf: { prevResult } });
      assert.equal(exit, 1);
      assert.match(String(out?.msg), message);
    });
  }
});

test('CHECK tolerates changes by later plugins of a chain', async () => {
  await using host = new Host();
  using pod = new Pod();
  // This version has no MTU in its results.
  const { out } = await call(host, 'ADD', { pod, conf: { cniVersion: '1.0.0' } });
  ip(pod.name, 'link', 'set', 'eth0', 'mtu', '1300');
  ip(pod.name, 'route', 'add', '172.16.0.0/12', 'via', '10.90.1.1');
  ip(pod.name, 'addr', 'add', '192.0.2.9/32', 'dev', 'eth0');
  ip(pod.name, 'link', 'set', 'eth0', 'address', '02:00:00:00:00:09');
  const interfaces = ((out?.interfaces ?? []) as { name: string; mac: string }[]).map((link) =>
    link.name === 'eth0' ? { ...link, mac: '02:00:00:00:00:09' } : link,
  );
  const prevResult = { ...out, interfaces: [...interfaces, { name: 'bwp0', mac: '02:00:00:00:00:01' }] };
  const check = await call(host, 'CHECK', { pod, conf: { cniVersion: '1.0.0', prevResult } });
  assert.deepEqual(check, { exit: 0, out: undefined });
});

test('CHECK without prevResult, or of an unknown attachment, is an error', async () => {
  await using host = new Host();
  using pod = new Pod();
  assert.equal((await call(host, 'CHECK', { pod })).out?.code, 7);
  const prevResult = { cniVersion: '1.1.0', interfaces: [{ name: 'eth0', sandbox: pod.path }], ips: [] };
  assert.equal((await call(host, 'CHECK', { pod, conf: { prevResult } })).exit, 1);
});
