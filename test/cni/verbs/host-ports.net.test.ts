import assert from 'node:assert/strict';
import { readdirSync, rmSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { type Answer, type CallOptions, call, eventually, Host, ip, leftovers, must, Pod } from '../host.ts';

const ports = (...portMappings: object[]) => ({ runtimeConfig: { portMappings } });
const web = { hostPort: 8080, containerPort: 80, protocol: 'tcp' };
const named = (name: string) => ({
  CNI_ARGS: `IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=${name}`,
});

async function refused(host: Host, options: CallOptions): Promise<Answer['out']> {
  const { exit, out } = await call(host, 'ADD', options);
  assert.equal(exit, 1, JSON.stringify(out));
  return out;
}

test('one host port leads to one pod; the holder is named', async (t) => {
  await using host = new Host();
  using first = new Pod();
  using second = new Pod();
  await must(host, 'ADD', { pod: first, id: 'a', conf: ports(web), env: named('first') });
  assert.deepEqual([...host.pods.values()][0]?.hostPorts, [
    { protocol: 'tcp', hostPort: 8080, containerPort: 80 },
  ]);
  const options = { pod: second, id: 'b', env: named('second') };
  for (const hostIP of ['', '0.0.0.0', '192.0.2.1', '::1']) {
    await t.test(`refused at '${hostIP}'`, async () => {
      const out = await refused(host, { ...options, conf: ports({ ...web, hostIP }) });
      assert.equal(out?.code, 11);
      assert.match(`${out?.msg}`, /^host port \S*8080\/tcp is taken by default\/first$/);
      assert.equal(out?.details, 'container a');
    });
  }
  await t.test('another protocol or port is free', async () => {
    const others = ports({ ...web, protocol: 'udp' }, { ...web, hostPort: 8081 });
    await must(host, 'ADD', { ...options, conf: others });
    await must(host, 'DEL', options);
  });
  await t.test('of two at once, one gets it', async () => {
    using third = new Pod();
    const conf = ports({ ...web, hostPort: 7 });
    const both = await Promise.all([
      call(host, 'ADD', { ...options, conf }),
      call(host, 'ADD', { pod: third, id: 'c', conf, env: named('third') }),
    ]);
    assert.deepEqual(both.map(({ exit }) => exit).sort(), [0, 1]);
    for (const id of ['b', 'c']) await must(host, 'DEL', { id });
  });
  await t.test('free after DEL', async () => {
    await must(host, 'DEL', { pod: first, id: 'a' });
    await must(host, 'ADD', { ...options, conf: ports(web) });
  });
  await t.test('a new sandbox of the same pod takes its place', async () => {
    using again = new Pod();
    await must(host, 'ADD', { pod: again, id: 'b2', conf: ports(web), env: named('second') });
    assert.deepEqual(
      [...host.pods.values()].map(({ containerId }) => containerId),
      ['b2'],
    );
  });
  await t.test('a pod that vanished without a DEL holds nothing', async () => {
    await eventually(
      'its veth is gone',
      () => !ip(host.netns, 'link').some((each) => /^veth/.test(each.ifname)),
    );
    using third = new Pod();
    await must(host, 'ADD', { pod: third, id: 'c', conf: ports(web), env: named('third') });
  });
});

test('a pod in two networks has its host ports at the interface that comes first', async () => {
  await using host = new Host();
  using pod = new Pod();
  const first = { pod, id: 'a', conf: ports(web), env: named('pod') };
  const second = { pod, id: 'a', ifName: 'net1', conf: { ...ports(web), name: 'other' }, env: named('pod') };
  await must(host, 'ADD', first);
  await must(host, 'ADD', second);
  assert.deepEqual(
    [...host.pods.values()].map(({ ifName, hostPorts }) => [ifName, hostPorts?.length]),
    [
      ['eth0', 1],
      ['net1', undefined],
    ],
  );
  await must(host, 'DEL', second);
  const elsewhere = await refused(host, {
    ...second,
    conf: { ...ports({ ...web, containerPort: 81 }), name: 'other' },
  });
  assert.match(`${elsewhere?.msg}`, /is taken by default\/pod/);
});

test('a record that is damaged still holds its host ports', async (t) => {
  await using host = new Host();
  using pod = new Pod();
  await must(host, 'ADD', { pod, id: 'a', conf: ports(web), env: named('first') });
  const dir = join(host.stateDir, 'attachments');
  for (const name of readdirSync(dir)) if (name.endsWith('.json')) truncateSync(join(dir, name), 100);
  using other = new Pod();
  const options = { pod: other, id: 'b', conf: ports(web), env: named('second') };
  await t.test('in the same agent', async () => {
    assert.match(`${(await refused(host, options))?.msg}`, /8080\/tcp is taken by default\/first$/);
  });
  await t.test('in the next one', async () => {
    const again = new Host({ dir: host.dir, netns: host.netns });
    assert.match(`${(await refused(again, options))?.msg}`, /8080\/tcp is taken by default\/first$/);
    await again.stop();
  });
});

test('no address is free for another pod while a host port leads to it', async () => {
  const seen: string[] = [];
  await using host = new Host({
    context: {
      released: async ({ addresses, hostPorts = [] }) => {
        const isReserved = addresses.every((ip) => leftovers(host).includes(ip));
        seen.push(`${hostPorts.length} ${host.pods.size} ${isReserved}`);
      },
    },
  });
  using pod = new Pod();
  await must(host, 'ADD', { pod, id: 'a', conf: ports(web) });
  await must(host, 'DEL', { pod, id: 'a' });
  assert.deepEqual(seen, ['1 0 true']);
  await must(host, 'ADD', { pod, id: 'b' });
  await must(host, 'DEL', { pod, id: 'b' });
  assert.equal(seen.length, 1, 'only of pods that have some');
});

test('at addresses: each its own, except for what covers both', async () => {
  await using host = new Host();
  using first = new Pod();
  using second = new Pod();
  const at = (hostIP: string) => ports({ ...web, hostIP });
  await must(host, 'ADD', { pod: first, id: 'a', conf: at('127.0.0.1') });
  await must(host, 'ADD', { pod: second, id: 'b', conf: at('192.0.2.1') });
  using third = new Pod();
  for (const hostIP of ['127.0.0.1', '0.0.0.0', ''])
    await refused(host, { pod: third, id: 'c', conf: at(hostIP) });
  await must(host, 'ADD', { pod: third, id: 'c', conf: at('::') });
});

test('a host port that cannot be served is refused, and nothing is left', async () => {
  await using host = new Host({
    subnets: ['10.90.1.0/24'],
    networks: ['10.90.0.0/16'],
    context: {
      ownPorts: [
        { protocol: 'tcp', first: 179, last: 179, why: 'carries the pod network’s own traffic' },
        { protocol: 'udp', first: 8472, last: 8472, why: 'carries the pod network’s own traffic' },
        { protocol: 'tcp', first: 10_000, last: 10_255, why: 'is reserved' },
      ],
    },
  });
  using pod = new Pod();
  for (const [port, message] of [
    [{ ...web, hostIP: '::1' }, /\[::1\]:8080\/tcp: the pod has no IPv6 address/],
    [{ ...web, hostPort: 179 }, /host port 179\/tcp carries the pod network’s own traffic/],
    [{ ...web, hostPort: 8472, protocol: 'udp' }, /host port 8472\/udp carries/],
    [{ ...web, hostPort: 10_250 }, /^host port 10250\/tcp is reserved$/],
    [{ ...web, hostPort: 70_000 }, /hostPort/],
  ] as const) {
    const out = await refused(host, { pod, conf: ports(port) });
    assert.equal(out?.code, 7, `${out?.msg}`);
    assert.match(`${out?.msg}`, message);
  }
  await must(host, 'ADD', { pod, conf: ports({ ...web, hostPort: 179, protocol: 'udp' }) });
  host.notReady = 'no lease yet';
  using other = new Pod();
  assert.equal((await refused(host, { pod: other, id: 'b', conf: ports(web) }))?.code, 11);
});

test('an agent that restarts knows the ports of its pods', async () => {
  await using host = new Host();
  using pod = new Pod();
  await must(host, 'ADD', { pod, id: 'a', conf: ports(web) });
  await host.stop();
  const { dir, netns } = host;
  const again = new Host({ dir, netns });
  try {
    using other = new Pod();
    assert.match(`${(await refused(again, { pod: other, id: 'b', conf: ports(web) }))?.msg}`, /taken by a$/);
  } finally {
    await again.stop();
  }
});

test('a record that is lost gets its host ports back', async () => {
  await using host = new Host();
  using pod = new Pod();
  await must(host, 'ADD', { pod, id: 'a', conf: ports(web) });
  const [before] = [...host.pods.values()];
  rmSync(join(host.stateDir, 'attachments'), { recursive: true });
  host.pods.clear();
  await host.service.collectGarbage();
  assert.deepEqual([...host.pods.values()][0]?.hostPorts, before?.hostPorts);
});
