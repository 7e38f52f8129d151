import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { HostLocal } from '../../../src/ipam/host-local.ts';
import { rangeOf } from '../../../src/ipam/ranges.ts';
import { netnsId, withNetns } from '../../../src/linux/netns.ts';
import { readSysctl } from '../../../src/linux/sysctl.ts';
import { call, eventually, Host, ip, ipOne, leftovers, must, Pod, pings } from '../host.ts';

test('a request without environment and input is answered as one with everything missing', async () => {
  await using host = new Host();
  for (const request of [{}, { env: null, stdin: 7 }, { env: { CNI_COMMAND: 1 } }]) {
    const { stdout, exit } = await host.service.handle(request);
    assert.equal(exit, 1);
    assert.match(JSON.parse(stdout).msg, /required env variables/);
  }
});

test('after ADD the kernel, the result and the files agree', async (t) => {
  await using host = new Host();
  using pod = new Pod();
  const args = 'IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web-0';
  const result = await must(host, 'ADD', { pod, id: 'abc', env: { CNI_ARGS: args } });
  const [bridge, outside, inside] = result.interfaces;
  assert.equal(bridge?.name, 'cni0');

  await t.test('the pod’s interface is up, and its addresses are usable at once', () => {
    const link = ipOne(pod.name, 'addr', 'show', 'dev', 'eth0');
    assert.deepEqual([link.mtu, link.operstate, link.address], [1450, 'UP', inside?.mac]);
    const global = link.addr_info.filter((a) => a.scope === 'global');
    assert.deepEqual(
      global.map((a) => [`${a.local}/${a.prefixlen}`, a.nodad]),
      [
        ['10.90.1.2/24', undefined],
        ['fd00:90:1::2/64', true],
      ],
    );
    assert.ok(!JSON.stringify(link.addr_info).includes('tentative'));
    assert.deepEqual(
      result.ips.map(({ address, gateway, interface: index }) => [address, gateway, index]),
      [
        ['10.90.1.2/24', '10.90.1.1', 2],
        ['fd00:90:1::2/64', 'fd00:90:1::1', 2],
      ],
    );
  });

  await t.test('the pod has a default route and routes to the cluster’s networks', () => {
    const routes = [...ip(pod.name, 'route'), ...ip(pod.name, '-6', 'route')];
    const via = (dst: string) => routes.find((route) => route.dst === dst)?.gateway;
    assert.equal(via('default'), '10.90.1.1');
    assert.equal(via('10.90.0.0/16'), '10.90.1.1');
    assert.equal(via('fd00:90::/32'), 'fd00:90:1::1');
    assert.deepEqual(
      result.routes.map(({ dst }) => dst),
      ['10.90.0.0/16', 'fd00:90::/32', '0.0.0.0/0', '::/0'],
    );
  });

  await t.test('the host’s end is a bridge port with hairpin mode, our name and our alias', () => {
    const link = ipOne(host.netns, 'link', 'show', 'dev', outside?.name ?? '');
    assert.deepEqual([link.master, link.mtu, link.operstate], ['cni0', 1450, 'UP']);
    assert.equal(link.linkinfo?.info_slave_data?.hairpin, true);
    assert.equal(link.ifalias, 'flatnet default/web-0');
    assert.match(link.ifname, /^veth[0-9a-f]{11}$/);
    assert.deepEqual(ipOne(host.netns, 'addr', 'show', 'dev', link.ifname).addr_info, []);
  });

  await t.test('host and pod reach each other at once', () => {
    for (const address of ['10.90.1.2', 'fd00:90:1::2']) assert.ok(pings(host.netns, address), address);
    for (const address of ['10.90.1.1', 'fd00:90:1::1']) assert.ok(pings(pod.name, address), address);
  });

  await t.test('reservations have host-local’s format, and the agent knows the pod', () => {
    assert.equal(readFileSync(join(host.dataDir, 'cbr0', '10.90.1.2'), 'utf8'), 'abc\r\neth0');
    assert.deepEqual(
      [...host.pods.values()],
      [
        {
          containerId: 'abc',
          ifName: 'eth0',
          hostDevice: outside?.name,
          netns: pod.path,
          netnsId: netnsId(pod.path),
          addresses: ['10.90.1.2', 'fd00:90:1::2'],
          mac: inside?.mac,
          subnets: ['10.90.1.0/24', 'fd00:90:1::/64'],
          bridge: 'cni0',
          namespace: 'default',
          name: 'web-0',
          labels: {},
        },
      ],
    );
  });

  await t.test('a second ADD is refused and changes nothing', async () => {
    const { exit, out } = await call(host, 'ADD', { pod, id: 'abc' });
    assert.equal(exit, 1);
    assert.match(String(out?.msg), /already/);
    assert.ok(pings(host.netns, '10.90.1.2'));
  });

  await t.test('DEL leaves nothing and can be repeated', async () => {
    for (let i = 0; i < 3; i++) await must(host, 'DEL', { pod, id: 'abc' });
    assert.equal(host.pods.size, 0);
    await eventually('nothing is left', () => leftovers(host).length === 0);
    assert.deepEqual(ip(pod.name, 'link').length, 1);
  });
  assert.deepEqual(host.warnings, []);
});

test('a reassigned address is reachable at once, despite stale neighbour entries', async () => {
  await using host = new Host({ subnets: ['10.90.1.0/24'], networks: [] });
  using witness = new Pod();
  await must(host, 'ADD', { pod: witness, id: 'witness' });
  for (let i = 0; i < 3; i++) {
    using pod = new Pod();
    await must(host, 'ADD', { pod, id: `p${i}`, env: { CNI_ARGS: 'IP=10.90.1.77' } });
    assert.ok(pings(host.netns, '10.90.1.77'), `host, round ${i}`);
    assert.ok(pings(witness.name, '10.90.1.77'), `pod, round ${i}`);
    await must(host, 'DEL', { pod, id: `p${i}` });
    assert.ok(!pings(host.netns, '10.90.1.77', 0.3), 'nothing answers at a free address');
  }
});

test('an interface can be added again right after its DEL', async () => {
  await using host = new Host();
  using pod = new Pod();
  for (let i = 0; i < 5; i++) {
    const { ips } = await must(host, 'ADD', { pod });
    assert.ok(pings(host.netns, ips[0]?.address.split('/')[0] ?? ''));
    await must(host, 'DEL', { pod });
  }
  await eventually('nothing is left', () => leftovers(host).length === 0);
});

test('pods reach each other, reach themselves through the bridge, and keep their link-local addresses', async () => {
  await using host = new Host();
  using a = new Pod();
  using b = new Pod();
  await must(host, 'ADD', { pod: a, id: 'a' });
  await must(host, 'ADD', { pod: b, id: 'b' });
  assert.ok(pings(a.name, '10.90.1.3'));
  assert.ok(pings(b.name, 'fd00:90:1::2'));
  const addresses = ipOne(a.name, 'addr', 'show', 'dev', 'eth0').addr_info;
  const local = addresses.find((entry) => entry.scope === 'link');
  assert.ok(local && !local.tentative, 'the link-local address skips duplicate address detection');
  withNetns(a.path, () => assert.equal(readSysctl('net/ipv6/conf/eth0/keep_addr_on_down'), '1'));
});

test('a pod with an IPv6 address gets IPv6 even if its namespace had it disabled', async () => {
  await using host = new Host();
  using pod = new Pod();
  withNetns(pod.path, () => {
    for (const dev of ['all', 'default']) writeFileSync(`/proc/sys/net/ipv6/conf/${dev}/disable_ipv6`, '1');
  });
  await must(host, 'ADD', { pod });
  assert.ok(pings(host.netns, 'fd00:90:1::2'));
});

test('the runtime can request addresses and a MAC', async (t) => {
  await using host = new Host();
  const add = async (options: Parameters<typeof must>[2]) => {
    using pod = new Pod();
    const result = await must(host, 'ADD', { pod, ...options });
    assert.equal(ipOne(pod.name, 'link', 'show', 'dev', 'eth0').address, result.interfaces[2]?.mac);
    await must(host, 'DEL', { pod, ...options });
    return result;
  };
  await t.test('ips and mac capabilities', async () => {
    const { ips, interfaces } = await add({
      conf: { runtimeConfig: { ips: ['10.90.1.50', 'fd00:90:1::50/64'], mac: '02:11:22:33:44:55' } },
    });
    assert.deepEqual(
      ips.map(({ address }) => address),
      ['10.90.1.50/24', 'fd00:90:1::50/64'],
    );
    assert.equal(interfaces[2]?.mac, '02:11:22:33:44:55');
  });
  await t.test('CNI_ARGS', async () => {
    const { ips, interfaces } = await add({ env: { CNI_ARGS: 'IP=10.90.1.60;MAC=02:00:00:00:00:60' } });
    assert.equal(ips[0]?.address, '10.90.1.60/24');
    assert.equal(interfaces[2]?.mac, '02:00:00:00:00:60');
  });
  await t.test('an address outside the subnets or already taken is an error and leaves nothing', async () => {
    using pod = new Pod();
    const outside = await call(host, 'ADD', { pod, conf: { runtimeConfig: { ips: ['10.99.0.1'] } } });
    assert.deepEqual([outside.exit, outside.out?.code], [1, 7]);
    using first = new Pod();
    await must(host, 'ADD', { pod: first, id: 'first', env: { CNI_ARGS: 'IP=10.90.1.61' } });
    const taken = await call(host, 'ADD', { pod, env: { CNI_ARGS: 'IP=10.90.1.61' } });
    assert.equal(taken.exit, 1);
    await must(host, 'DEL', { pod: first, id: 'first' });
    await eventually('nothing is left', () => leftovers(host).length === 0);
  });
});

test('a failed ADD leaves nothing', async (t) => {
  let refusal: string | undefined;
  await using host = new Host({ context: { admit: async () => refusal } });
  const refused = async (options: Parameters<typeof call>[2]) => {
    const { exit, out } = await call(host, 'ADD', options);
    assert.equal(exit, 1);
    await eventually('nothing is left', () => leftovers(host).length === 0);
    return out ?? {};
  };
  using pod = new Pod();
  await t.test('without a namespace', async () => {
    assert.equal((await refused({ env: { CNI_NETNS: '/run/netns/none' } })).code, 8);
  });
  await t.test('with a file that is not a namespace', async () => {
    assert.equal((await refused({ env: { CNI_NETNS: '/etc/passwd' } })).code, 8);
  });
  await t.test(
    'with a FIFO that nobody writes to, a folder, a loop, or a namespace of another kind',
    async () => {
      const fifo = join(host.dir, 'fifo');
      execFileSync('mkfifo', [fifo]);
      const loop = join(host.dir, 'loop');
      symlinkSync(loop, loop);
      for (const path of [fifo, host.dir, loop, '/proc/self/ns/mnt', '/dev/null'])
        assert.equal((await refused({ env: { CNI_NETNS: path } })).code, 8, path);
    },
  );
  await t.test('in the node’s own namespace', async () => {
    assert.equal((await refused({ env: { CNI_NETNS: host.path } })).code, 8);
  });
  await t.test('while the node is not ready', async () => {
    host.notReady = 'no lease yet';
    const error = await refused({ pod });
    host.notReady = undefined;
    assert.deepEqual([error.code, error.details], [11, 'no lease yet']);
  });
  await t.test('while the kernel does not guard the pod', async () => {
    refusal = 'the kernel refuses its elements';
    const error = await refused({ pod });
    refusal = undefined;
    assert.deepEqual([error.code, error.details], [11, 'the kernel refuses its elements']);
    assert.deepEqual([...host.pods], []);
  });
  await t.test('when the interface exists', async () => {
    assert.match(String((await refused({ pod, ifName: 'lo' })).msg), /already exists/);
  });
  await t.test('with unsupported keys, each named with its value', async () => {
    for (const conf of [
      { vlan: 7 },
      { vlanTrunk: [{ id: 5 }] },
      { macspoofchk: true },
      { portIsolation: true },
      { disableContainerInterface: true },
      { ipam: { type: 'dhcp' } },
      { ipMasq: true, bridge: 'cni7', ipam: { type: 'host-local', ranges: [[{ subnet: '10.7.0.0/24' }]] } },
      { ipMasq: true, ipMasqBackend: 'iptables' },
      { runtimeConfig: { deviceID: '0000:3b:00.1' } },
    ]) {
      const error = await refused({ pod, conf });
      assert.equal(error.code, 2, JSON.stringify(conf));
      const [key = ''] = Object.keys(conf);
      assert.ok(String(error.msg).includes(key), `${error.msg}`);
    }
  });
  await t.test('when no address is left', async () => {
    const conf = { bridge: 'cni7', ipam: { type: 'host-local', ranges: [[{ subnet: '10.7.0.0/30' }]] } };
    using other = new Pod();
    await must(host, 'ADD', { pod: other, id: 'other', conf });
    const { out } = await call(host, 'ADD', { pod, conf });
    assert.deepEqual(
      [out?.code, String(out?.msg).includes('no IP addresses available in range set')],
      [11, true],
    );
    await must(host, 'DEL', { pod: other, id: 'other', conf });
  });
});

test('an ADD that asks for nothing special is served, however the runtime writes nothing', async (t) => {
  await using host = new Host();
  for (const runtimeConfig of [
    { portMappings: [{ hostPort: 0, containerPort: 80, protocol: 'tcp', hostIP: '' }] },
    { portMappings: [{ HostPort: 0, ContainerPort: 80, Protocol: 'tcp' }, { containerPort: 81 }] },
    { portMappings: [], bandwidth: null, mac: null, ips: null },
    { bandwidth: {} },
    { bandwidth: { ingressRate: 0, ingressBurst: 0, egressRate: 0, egressBurst: 0 } },
    { bandwidth: { IngressRate: 0, IngressBurst: 4_294_967_295 } },
    { mac: '', ips: [] },
    { ips: [''], infinibandGUID: '', deviceID: '' },
  ]) {
    await t.test(JSON.stringify(runtimeConfig), async () => {
      using pod = new Pod();
      await must(host, 'ADD', { pod, conf: { runtimeConfig }, env: { CNI_ARGS: 'IP=;MAC=' } });
      await must(host, 'DEL', { pod });
    });
  }
});

test('DEL succeeds in every broken situation and frees the address', async (t) => {
  const situations: Record<string, (host: Host, pod: Pod, device: string) => void> = {
    'the namespace is gone': (_host, pod) => pod[Symbol.dispose](),
    'the host’s end is gone': (host, _pod, device) => ip(host.netns, 'link', 'del', device),
    'the pod’s end is gone': (_host, pod) => ip(pod.name, 'link', 'del', 'eth0'),
    'the bridge is gone': (host) => ip(host.netns, 'link', 'del', 'cni0'),
    'the reservation is gone': (host) => rmSync(host.dataDir, { recursive: true }),
    'our record is gone': (host) => rmSync(host.stateDir, { recursive: true }),
    'our record is empty': (host) => writeFileSync(recordOf(host), ''),
    'our record is truncated': (host) => writeFileSync(recordOf(host), '{"network":"cbr0","conta'),
    'record and namespace are gone': (host, pod) => {
      rmSync(host.stateDir, { recursive: true });
      pod[Symbol.dispose]();
    },
    'the node is not ready': (host) => {
      host.notReady = 'the store is unreachable';
    },
  };
  for (const [what, breakIt] of Object.entries(situations)) {
    await t.test(what, async () => {
      await using host = new Host();
      using pod = new Pod();
      const { interfaces } = await must(host, 'ADD', { pod });
      breakIt(host, pod, interfaces[1]?.name ?? '');
      await must(host, 'DEL', { pod });
      await must(host, 'DEL', {});
      await eventually('nothing is left', () => leftovers(host).length === 0);
      assert.deepEqual(host.warnings, []);
    });
  }
  await t.test('with empty CNI_NETNS', async () => {
    await using host = new Host();
    using pod = new Pod();
    await must(host, 'ADD', { pod });
    await must(host, 'DEL', {});
    await eventually('nothing is left', () => leftovers(host).length === 0);
  });
  await t.test('in an agent that never saw the ADD', async () => {
    await using host = new Host();
    using pod = new Pod();
    await must(host, 'ADD', { pod });
    await host.stop();
    const next = new Host({ dir: host.dir, netns: host.netns });
    await must(next, 'DEL', { pod });
    await eventually('nothing is left', () => leftovers(host).length === 0);
    await next.stop();
  });
  await t.test('with a configuration that requests unsupported features', async () => {
    await using host = new Host();
    using pod = new Pod();
    await must(host, 'ADD', { pod });
    await must(host, 'DEL', { pod, conf: { vlan: 7, ipam: { type: 'host-local', ranges: 'none' } } });
    await eventually('nothing is left', () => leftovers(host).length === 0);
  });
});

test('110 pods at once get distinct addresses, are all reachable, and leave nothing', async () => {
  await using host = new Host({ subnets: ['10.90.1.0/24'], networks: [] });
  const pods = Array.from({ length: 110 }, () => new Pod());
  try {
    const results = await Promise.all(pods.map((pod, i) => must(host, 'ADD', { pod, id: `p${i}` })));
    const addresses = results.map(({ ips }) => ips[0]?.address.split('/')[0] ?? '');
    assert.equal(new Set(addresses).size, 110);
    assert.equal(new Set(results.map(({ interfaces }) => interfaces[2]?.mac)).size, 110);
    for (const i of [0, 54, 109]) assert.ok(pings(host.netns, addresses[i] ?? ''));
    assert.equal(host.pods.size, 110);
    await Promise.all(pods.map((pod, i) => must(host, 'DEL', { pod, id: `p${i}` })));
    await eventually('nothing is left', () => leftovers(host).length === 0, 5000);
  } finally {
    for (const pod of pods) pod[Symbol.dispose]();
  }
});

test('a refused ADD does not free an address held by another attachment of the container', async () => {
  await using host = new Host({ subnets: ['10.90.1.0/24'], networks: [] });
  using pod = new Pod();
  const theirs = HostLocal.open(join(host.dataDir, 'cbr0'), [[rangeOf(host.subnets[0] ?? assert.fail())]]);
  const [{ address } = assert.fail()] = theirs.allocate({ containerId: 'pod-0', ifName: 'eth0' });
  const { out } = await call(host, 'ADD', { pod });
  assert.match(String(out?.msg), /duplicate allocation is not allowed/);
  assert.deepEqual(
    theirs.list().map(({ ip }) => `${ip}/24`),
    [address],
  );
});

test('ipMasq is accepted: the agent masquerades anyway', async () => {
  await using host = new Host();
  using pod = new Pod();
  await must(host, 'ADD', { pod, conf: { ipMasq: true, ipMasqBackend: 'nftables' } });
});

function recordOf(host: Host): string {
  return join(host.stateDir, 'attachments', 'cbr0:pod-0:eth0:interface.json');
}
