import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { netnsId, withNetns } from '../../../../src/linux/netns.ts';
import { readSysctl, writeSysctl } from '../../../../src/linux/sysctl.ts';
import { deviceSysctls } from '../../../../src/wiring/pod-device.ts';
import {
  type CallOptions,
  call,
  eventually,
  Host,
  type HostOptions,
  ip,
  ipOne,
  leftovers,
  must,
  Pod,
  pings,
} from '../../host.ts';

const routed = (options: HostOptions = {}): Host => new Host({ ...options, wiring: 'routed' });
/** CNI_ARGS that name a pod, as the kubelet's runtime passes them. */
const named = (pod: string): Pick<CallOptions, 'env'> => ({
  env: { CNI_ARGS: `IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=${pod}` },
});
const run = (netns: string, ...command: string[]): string =>
  execFileSync('ip', ['netns', 'exec', netns, ...command], { encoding: 'utf8' });
const lines = (netns: string, command: string): string[] =>
  run(netns, ...command.split(' '))
    .split('\n')
    .map((line) => line.trim())
    .filter(Boolean);

/** `cali` and the start of the sha1 of `default.web-0`. */
const WEB_0 = `cali${execFileSync('sha1sum', { input: 'default.web-0', encoding: 'utf8' }).slice(0, 11)}`;

test('after ADD the kernel, the result and the agent’s pod agree', async (t) => {
  await using host = routed();
  using pod = new Pod();
  withNetns(pod.path, () => writeSysctl('net/ipv4/ip_forward', 1));
  const result = await must(host, 'ADD', { pod, id: 'abc', ...named('web-0') });
  const mac = ipOne(pod.name, 'link', 'show', 'dev', 'eth0').address;

  await t.test('the result matches Calico’s: host addresses, and the name of the host’s end', () => {
    assert.deepEqual(result, {
      interfaces: [
        { name: WEB_0, mac: 'ee:ee:ee:ee:ee:ee', mtu: 1450 },
        { name: 'eth0', mac, mtu: 1450, sandbox: pod.path },
      ],
      ips: [
        { interface: 1, address: '10.90.1.2/32' },
        { interface: 1, address: 'fd00:90:1::2/128' },
      ],
      routes: [
        { dst: '0.0.0.0/0', gw: '169.254.1.1' },
        { dst: '::/0', gw: 'fe80::ecee:eeff:feee:eeee' },
      ],
      dns: {},
    });
  });

  await t.test('the pod’s tables', () => {
    assert.deepEqual(lines(pod.name, 'ip -4 route'), [
      'default via 169.254.1.1 dev eth0',
      '169.254.1.1 dev eth0 scope link',
    ]);
    assert.deepEqual(
      lines(pod.name, 'ip -6 route').filter((line) => !line.startsWith('fe80::/64')),
      [
        'fd00:90:1::2 dev eth0 proto kernel metric 256 pref medium',
        'default via fe80::ecee:eeff:feee:eeee dev eth0 metric 1024 pref medium',
      ],
    );
    assert.deepEqual(lines(pod.name, 'ip neigh show nud permanent').sort(), [
      '169.254.1.1 dev eth0 lladdr ee:ee:ee:ee:ee:ee PERMANENT',
      'fe80::ecee:eeff:feee:eeee dev eth0 lladdr ee:ee:ee:ee:ee:ee PERMANENT',
    ]);
    const link = ipOne(pod.name, 'addr', 'show', 'dev', 'eth0');
    assert.deepEqual([link.mtu, link.operstate], [1450, 'UP']);
    assert.ok(!JSON.stringify(link.addr_info).includes('tentative'));
    withNetns(pod.path, () => assert.equal(readSysctl('net/ipv4/ip_forward'), '0', 'a pod does not forward'));
  });

  await t.test('the node’s tables', () => {
    assert.deepEqual(lines(host.netns, 'ip -4 route show proto 111'), [`10.90.1.2 dev ${WEB_0} scope link`]);
    assert.deepEqual(lines(host.netns, 'ip -6 route show proto 111'), [
      `fd00:90:1::2 dev ${WEB_0} metric 1 pref medium`,
    ]);
    const link = ipOne(host.netns, 'addr', 'show', 'dev', WEB_0);
    assert.deepEqual(
      [link.address, link.mtu, link.operstate, link.master, link.ifalias],
      ['ee:ee:ee:ee:ee:ee', 1450, 'UP', undefined, 'flatnet default/web-0 abc eth0'],
    );
    assert.deepEqual(
      link.addr_info.map(({ local }) => local),
      ['fe80::ecee:eeff:feee:eeee'],
    );
    withNetns(host.path, () => {
      for (const [path, value] of deviceSysctls(WEB_0, [4, 6])) assert.equal(readSysctl(path), value, path);
    });
  });

  await t.test('host and pod reach each other at once', () => {
    for (const address of ['10.90.1.2', 'fd00:90:1::2']) assert.ok(pings(host.netns, address), address);
    assert.ok(pings(pod.name, '192.0.2.1'));
  });

  await t.test('the agent knows the pod', () => {
    assert.deepEqual(
      [...host.pods.values()],
      [
        {
          containerId: 'abc',
          ifName: 'eth0',
          hostDevice: WEB_0,
          netns: pod.path,
          netnsId: netnsId(pod.path),
          addresses: ['10.90.1.2', 'fd00:90:1::2'],
          mac,
          namespace: 'default',
          name: 'web-0',
          labels: {},
          wiring: 'routed',
        },
      ],
    );
    assert.equal(readFileSync(join(host.dataDir, 'cbr0', '10.90.1.2'), 'utf8'), 'abc\r\neth0');
  });

  await t.test('a second ADD is refused and changes nothing', async () => {
    const { exit, out } = await call(host, 'ADD', { pod, id: 'abc', ...named('web-0') });
    assert.equal(exit, 1);
    assert.match(String(out?.msg), /already/);
    assert.ok(pings(host.netns, '10.90.1.2'));
  });

  await t.test('DEL removes everything and can be repeated', async () => {
    for (let i = 0; i < 3; i++) await must(host, 'DEL', { pod, id: 'abc' });
    assert.equal(host.pods.size, 0);
    assert.deepEqual(lines(host.netns, 'ip route show proto 111'), [], 'gone at once, with the device down');
    await eventually('nothing is left', () => leftovers(host).length === 0);
  });
  assert.deepEqual(host.warnings, []);
});

test('pods reach each other in both families from the first packet', async () => {
  await using host = routed();
  using a = new Pod();
  using b = new Pod();
  await must(host, 'ADD', { pod: a, id: 'a', ...named('a') });
  await must(host, 'ADD', { pod: b, id: 'b', ...named('b') });
  assert.ok(pings(a.name, '10.90.1.3'));
  assert.ok(pings(b.name, 'fd00:90:1::2'));
});

test('the host answers ARP for the gateway without delay', async () => {
  await using host = routed();
  using pod = new Pod();
  await must(host, 'ADD', { pod, ...named('a') });
  ip(pod.name, 'neigh', 'del', '169.254.1.1', 'dev', 'eth0');
  for (let i = 0; i < 6; i++) {
    const [, took = '1000'] = /time=([0-9.]+) ms/.exec(run(pod.name, 'ping', '-nc1', '192.0.2.1')) ?? [];
    assert.ok(Number(took) < 50, `${took} ms: the kernel's proxy_delay is a random part of 800 ms`);
    ip(pod.name, 'neigh', 'flush', 'all');
  }
});

test('on an IPv4-only network the host’s end accepts no IPv6 packets', async () => {
  await using host = routed({ subnets: ['10.90.1.0/24'], networks: ['10.90.0.0/16'] });
  using pod = new Pod();
  const { interfaces } = await must(host, 'ADD', { pod, ...named('a') });
  const device = interfaces[0]?.name ?? '';
  assert.ok(pings(host.netns, '10.90.1.2'));
  assert.deepEqual(ipOne(host.netns, 'addr', 'show', 'dev', device).addr_info, []);
  withNetns(host.path, () => assert.equal(readSysctl(`net/ipv6/conf/${device}/disable_ipv6`), '1'));
});

test('a device’s name is derived from the pod, or from the attachment if it is not a pod’s eth0', async () => {
  await using host = routed();
  using pod = new Pod();
  const names: string[] = [];
  const routes: unknown[] = [];
  for (const options of [
    { id: 'one', ...named('web-0') },
    { id: 'one', ifName: 'net1', ...named('web-0') },
    { id: 'flatnet-test-1', ifName: 'a' },
    { id: 'flatnet-test-2', ifName: 'b' },
  ]) {
    const out = await must(host, 'ADD', { pod, ...options });
    const { interfaces } = out;
    names.push(interfaces[0]?.name ?? '');
    routes.push(out.routes.length);
    const prevResult = { cniVersion: '1.1.0', ...out };
    const check = await call(host, 'CHECK', { pod, ...options, conf: { prevResult } });
    assert.deepEqual(check, { exit: 0, out: undefined });
  }
  assert.deepEqual(routes, [2, 0, 0, 0], 'only the first interface of a namespace gets default routes');
  assert.equal(names[0], WEB_0);
  assert.equal(new Set(names).size, 4);
  for (const name of names) assert.match(name, /^cali[0-9a-f]{11}$/);
});

test('a pod is added again before its earlier sandbox has been deleted', async (t) => {
  for (const old of ['lives', 'is gone'] as const) {
    await t.test(`which ${old}`, async () => {
      await using host = routed({ subnets: ['10.90.1.0/24'], networks: ['10.90.0.0/16'] });
      using earlier = new Pod();
      using pod = new Pod();
      await must(host, 'ADD', { pod: earlier, id: 'earlier', ...named('web-0') });
      if (old === 'is gone') earlier[Symbol.dispose]();
      const { ips } = await must(host, 'ADD', { pod, id: 'later', ...named('web-0') });
      const address = ips[0]?.address.replace('/32', '') ?? '';
      assert.deepEqual([...host.pods.keys()], ['later eth0'], 'the agent knows only the new one');
      assert.ok(pings(host.netns, address));
      await must(host, 'DEL', { pod: earlier, id: 'earlier', ...named('web-0') });
      await host.service.collectGarbage();
      assert.ok(pings(host.netns, address), 'a late DEL of the earlier one does not affect it');
      assert.equal(
        ipOne(host.netns, 'link', 'show', 'dev', WEB_0).ifalias,
        'flatnet default/web-0 later eth0',
      );
      await must(host, 'DEL', { pod, id: 'later' });
      await eventually('nothing is left', () => leftovers(host).length === 0);
      assert.deepEqual(host.warnings, []);
    });
  }
  await t.test('in an agent that lost its records', async () => {
    await using host = routed();
    using earlier = new Pod();
    using pod = new Pod();
    await must(host, 'ADD', { pod: earlier, id: 'earlier', ...named('web-0') });
    await host.stop();
    rmSync(host.stateDir, { recursive: true });
    const next = routed({ dir: host.dir, netns: host.netns });
    const { ips } = await must(next, 'ADD', { pod, id: 'later', ...named('web-0') });
    await must(next, 'DEL', { id: 'earlier' });
    await next.stop();
    assert.ok(pings(host.netns, ips[0]?.address.replace('/32', '') ?? ''));
  });
});

test('an interface can be added again right after its DEL', async () => {
  await using host = routed();
  using pod = new Pod();
  for (let i = 0; i < 5; i++) {
    const { ips } = await must(host, 'ADD', { pod, id: `try-${i}`, ...named('web-0') });
    assert.ok(pings(host.netns, ips[0]?.address.replace('/32', '') ?? ''));
    await must(host, 'DEL', { pod, id: `try-${i}` });
  }
  await eventually('nothing is left', () => leftovers(host).length === 0);
});

test('DEL succeeds in every broken situation', async (t) => {
  const situations: Record<string, (host: Host, pod: Pod, device: string) => void> = {
    'the namespace is gone': (_host, pod) => pod[Symbol.dispose](),
    'the host’s end is gone': (host, _pod, device) => ip(host.netns, 'link', 'del', device),
    'the reservation is gone': (host) => rmSync(host.dataDir, { recursive: true }),
    'our record is gone': (host) => rmSync(host.stateDir, { recursive: true }),
    'our record is truncated': (host) => writeFileSync(recordOf(host), '{"network":"cbr0","conta'),
    'the alias has changed': (host, _pod, device) => ip(host.netns, 'link', 'set', device, 'alias', 'mine'),
    'record and namespace are gone': (host, pod) => {
      rmSync(host.stateDir, { recursive: true });
      pod[Symbol.dispose]();
    },
  };
  for (const [what, breakIt] of Object.entries(situations)) {
    await t.test(what, async () => {
      await using host = routed();
      using pod = new Pod();
      const { interfaces } = await must(host, 'ADD', { pod, ...named('web-0') });
      breakIt(host, pod, interfaces[0]?.name ?? '');
      await must(host, 'DEL', { pod });
      await must(host, 'DEL', {});
      await eventually('nothing is left', () => leftovers(host).length === 0);
      assert.deepEqual(host.warnings, []);
    });
  }
});

test('a failed ADD leaves nothing and says why', async (t) => {
  await using host = routed();
  using pod = new Pod();
  const refused = async (options: CallOptions) => {
    const { exit, out } = await call(host, 'ADD', { pod, ...options });
    assert.equal(exit, 1);
    await eventually('nothing is left', () => leftovers(host).length === 0);
    return out ?? {};
  };
  await t.test('when the interface exists', async () => {
    assert.match(String((await refused({ ifName: 'lo' })).msg), /already exists/);
  });
  await t.test('with features that routed pods lack', async () => {
    const annotation = (name: string, value: string) => ({
      runtimeConfig: { 'io.kubernetes.cri.pod-annotations': { [`cni.projectcalico.org/${name}`]: value } },
    });
    for (const [conf, message] of [
      [{ promiscMode: true }, /promiscMode true/],
      [{ isDefaultGateway: false }, /isDefaultGateway false/],
      [{ mtu: 1300 }, /mtu 1300/],
      [annotation('ipAddrsNoIpam', '["10.0.0.1"]'), /ipAddrsNoIpam/],
      [annotation('ipv4pools', '["mine"]'), /pools \["mine"\]/],
    ] as const) {
      const error = await refused({ conf });
      assert.equal(error.code, 2, JSON.stringify(error));
      assert.match(String(error.msg), message);
    }
    for (const value of ['10.0.0.1', '["x"]', '{}', '[7]']) {
      const error = await refused({ conf: annotation('ipAddrs', value) });
      assert.equal(error.code, 7, JSON.stringify(error));
      assert.match(String(error.msg), /cni\.projectcalico\.org\/ipAddrs/);
    }
  });
  await t.test('when another pod has the address', async () => {
    ip(host.netns, 'link', 'add', 'calix', 'type', 'veth', 'peer', 'caliy');
    ip(host.netns, 'link', 'set', 'calix', 'alias', 'flatnet default/other c eth0', 'up');
    ip(host.netns, 'route', 'add', '10.90.1.77', 'dev', 'calix');
    const conf = { runtimeConfig: { ips: ['10.90.1.77'] } };
    const { exit, out } = await call(host, 'ADD', { pod, conf, ...named('web-0') });
    ip(host.netns, 'link', 'del', 'calix');
    assert.equal(exit, 1);
    assert.deepEqual(
      [out?.msg, out?.details],
      [
        `route 10.90.1.77/32 already exists for an interface other than '${WEB_0}'`,
        'it leads to calix (flatnet default/other c eth0)',
      ],
    );
    await eventually('nothing is left', () => leftovers(host).length === 0);
  });
});

test('annotations and the runtime can request addresses and a MAC', async () => {
  await using host = routed();
  using pod = new Pod();
  const annotations = {
    'cni.projectcalico.org/ipAddrs': '["10.90.1.50", "fd00:90:1::50"]',
    'cni.projectcalico.org/hwAddr': '02:11:22:33:44:55',
    'cni.projectcalico.org/podIP': '10.9.9.9/32',
  };
  const conf = { runtimeConfig: { 'io.kubernetes.cri.pod-annotations': annotations } };
  const { ips, interfaces } = await must(host, 'ADD', { pod, conf });
  assert.deepEqual(
    ips.map(({ address }) => address),
    ['10.90.1.50/32', 'fd00:90:1::50/128'],
  );
  assert.equal(interfaces[1]?.mac, '02:11:22:33:44:55');
  assert.equal(ipOne(pod.name, 'link', 'show', 'dev', 'eth0').address, '02:11:22:33:44:55');
});

test('CHECK reports exactly what is wrong', async (t) => {
  const damage: Record<string, [RegExp, (host: Host, pod: Pod, device: string) => void]> = {
    'the address is gone': [
      /lacks the address 10\.90\.1\.2\/32/,
      (_h, pod) => ip(pod.name, 'addr', 'del', '10.90.1.2/32', 'dev', 'eth0'),
    ],
    'the default route is gone': [
      /route to 0\.0\.0\.0\/0/,
      (_h, pod) => ip(pod.name, 'route', 'del', 'default'),
    ],
    'the IPv6 default route is gone': [
      /route to ::\/0/,
      (_h, pod) => ip(pod.name, '-6', 'route', 'del', 'default'),
    ],
    'the gateway’s neighbour entry is gone': [
      /lacks the permanent neighbour 169\.254\.1\.1/,
      (_h, pod) => ip(pod.name, 'neigh', 'del', '169.254.1.1', 'dev', 'eth0'),
    ],
    'the gateway’s neighbour entry has the wrong MAC': [
      /lacks the permanent neighbour fe80/,
      (_h, pod) =>
        run(
          pod.name,
          ...'ip neigh replace fe80::ecee:eeff:feee:eeee lladdr 02:00:00:00:00:01 dev eth0'.split(' '),
        ),
    ],
    'the pod’s interface is down': [/eth0 is down/, (_h, pod) => ip(pod.name, 'link', 'set', 'eth0', 'down')],
    'the host’s end is down': [
      /is down/,
      (host, _p, device) => ip(host.netns, 'link', 'set', device, 'down'),
    ],
    'the host’s end has the wrong MAC': [
      /has the MAC 02:00:00:00:00:01/,
      (host, _p, device) => ip(host.netns, 'link', 'set', device, 'address', '02:00:00:00:00:01'),
    ],
    'the host’s MTU is wrong': [
      /MTU 1400/,
      (host, _p, device) => ip(host.netns, 'link', 'set', device, 'mtu', '1400'),
    ],
    'the node’s route is gone': [
      /no route to 10\.90\.1\.2\/32/,
      (host) => ip(host.netns, 'route', 'del', '10.90.1.2'),
    ],
    'the node’s IPv6 route is gone': [
      /no route to fd00:90:1::2\/128/,
      (host) => ip(host.netns, '-6', 'route', 'del', 'fd00:90:1::2'),
    ],
    'the gateway’s address is gone': [
      /lacks the gateway address/,
      (host, _p, device) => ip(host.netns, 'addr', 'flush', 'dev', device, 'scope', 'link'),
    ],
    'proxy ARP is off': [
      /proxy_arp is 0, not 1/,
      (host, _p, device) => withNetns(host.path, () => writeSysctl(`net/ipv4/conf/${device}/proxy_arp`, 0)),
    ],
    'forwarding is off': [
      /forwarding is 0, not 1/,
      (host) => withNetns(host.path, () => writeSysctl('net/ipv4/ip_forward', 0)),
    ],
    'the reservation is gone': [
      /reservation of 10\.90\.1\.2/,
      (host) => rmSync(join(host.dataDir, 'cbr0', '10.90.1.2')),
    ],
  };
  for (const [what, [message, breakIt]] of Object.entries(damage)) {
    await t.test(what, async () => {
      await using host = routed();
      using pod = new Pod();
      const { out: prevResult } = await call(host, 'ADD', { pod, ...named('web-0') });
      const checked = { pod, conf: { prevResult } };
      assert.deepEqual(await call(host, 'CHECK', checked), { exit: 0, out: undefined }, 'right after ADD');
      breakIt(host, pod, WEB_0);
      const { exit, out } = await call(host, 'CHECK', checked);
      assert.equal(exit, 1);
      assert.match(String(out?.msg), message);
    });
  }
});

test('110 pods at once can reach each other', async () => {
  await using host = routed();
  const pods = Array.from({ length: 110 }, () => new Pod());
  try {
    const results = await Promise.all(
      pods.map((pod, i) => must(host, 'ADD', { pod, id: `p${i}`, ...named(`p${i}`) })),
    );
    assert.equal(new Set(results.map(({ ips }) => ips[0]?.address)).size, 110);
    for (const i of [0, 54, 109]) {
      assert.ok(pings(pods[(i + 7) % 110]?.name ?? '', results[i]?.ips[1]?.address.split('/')[0] ?? ''));
    }
    await Promise.all(pods.map((pod, i) => must(host, 'DEL', { pod, id: `p${i}` })));
    await eventually('nothing is left', () => leftovers(host).length === 0, 5000);
  } finally {
    for (const pod of pods) pod[Symbol.dispose]();
  }
});

function recordOf(host: Host): string {
  return join(host.stateDir, 'attachments', 'cbr0:pod-0:eth0:interface.json');
}
