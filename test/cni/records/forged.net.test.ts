import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import type { WiringName } from '../../../src/cluster/wiring.ts';
import { type CallOptions, eventually, Host, ip, ipOne, leftovers, must, Pod, pings } from '../host.ts';

// What a privileged pod does to its own interface, and a record that is lost meanwhile.

const WIRINGS: readonly WiringName[] = ['bridge', 'routed'];
const named = (id: string, conf: object = {}): CallOptions => ({
  id,
  conf,
  env: { CNI_ARGS: `IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=${id}` },
});

function recordOf(host: Host, id: string): string {
  return join(host.stateDir, 'attachments', `cbr0:${id}:eth0:interface.json`);
}

function inside(pod: Pod, ...args: string[]): void {
  execFileSync('ip', ['-n', pod.name, ...args]);
}

function macOf(pod: Pod): string {
  return ipOne(pod.name, 'link', 'show', 'dev', 'eth0').address;
}

/** Makes the pod look like another. */
const FORGERIES: Record<string, (pod: Pod, victim: Pod, host: Host) => void> = {
  'another pod’s address': (pod) => inside(pod, 'addr', 'add', '10.90.1.3/24', 'dev', 'eth0'),
  'only another pod’s addresses': (pod) => {
    inside(pod, 'addr', 'flush', 'dev', 'eth0', 'scope', 'global');
    inside(pod, 'addr', 'add', '10.90.1.3/24', 'dev', 'eth0');
    inside(pod, 'addr', 'add', 'fd00:90:1::3/64', 'dev', 'eth0');
  },
  'an address of nobody': (pod) => inside(pod, 'addr', 'add', '10.90.1.77/24', 'dev', 'eth0'),
  'the gateway’s address': (pod) => inside(pod, 'addr', 'add', '10.90.1.1/32', 'dev', 'eth0'),
  'a wide network': (pod) => inside(pod, 'addr', 'add', '10.90.1.2/8', 'dev', 'eth0'),
  'no address': (pod) => inside(pod, 'addr', 'flush', 'dev', 'eth0'),
  'another pod’s MAC': (pod, victim) => inside(pod, 'link', 'set', 'eth0', 'address', macOf(victim)),
  'the bridge’s MAC': (pod, _, host) => {
    const bridge = ip(host.netns, 'link').find(({ ifname }) => ifname === 'cni0');
    inside(pod, 'link', 'set', 'eth0', 'address', bridge?.address ?? 'ee:ee:ee:ee:ee:ee');
  },
  'a MAC of nobody': (pod) => inside(pod, 'link', 'set', 'eth0', 'address', '02:00:00:00:00:99'),
  'another name': (pod) => {
    inside(pod, 'link', 'set', 'eth0', 'down');
    inside(pod, 'link', 'set', 'eth0', 'name', 'eth1', 'up');
  },
};

for (const wiring of WIRINGS) {
  for (const [what, forge] of Object.entries(FORGERIES)) {
    test(`${wiring}: a pod that shows ${what} is rebuilt as what it is`, async () => {
      await using host = new Host({ wiring });
      using pod = new Pod();
      using victim = new Pod();
      await must(host, 'ADD', { pod, ...named('a') });
      await must(host, 'ADD', { pod: victim, ...named('b') });
      const before = JSON.parse(readFileSync(recordOf(host, 'a'), 'utf8'));
      const known = new Map(host.pods);
      await host.stop();
      forge(pod, victim, host);
      truncateSync(recordOf(host, 'a'), 100);
      await using next = new Host({ dir: host.dir, netns: host.netns, wiring });
      await next.service.collectGarbage();
      const { netns: _, netnsId: __, ...after } = JSON.parse(readFileSync(recordOf(host, 'a'), 'utf8'));
      const { netns, netnsId, ...expected } = before;
      assert.deepEqual(after, expected);
      const { addresses, mac, hostDevice } = next.pods.get('a eth0') ?? {};
      const { addresses: own, mac: ownMac, hostDevice: device } = known.get('a eth0') ?? {};
      assert.deepEqual([addresses, mac, hostDevice], [own, ownMac, device]);
      assert.deepEqual(next.service.problems, []);
      await must(next, 'DEL', { pod, ...named('a') });
      await must(next, 'DEL', { pod: victim, ...named('b') });
      await eventually('nothing is left', () => leftovers(next).length === 0);
    });
  }

  test(`${wiring}: what a pod asked for comes back with its record`, async () => {
    await using host = new Host({ wiring, context: { refusesSource: () => undefined } });
    using pod = new Pod();
    const annotations = { 'cni.projectcalico.org/allowedSourcePrefixes': '["10.9.0.0/24", "fd00:9::/64"]' };
    const conf = {
      args: { cni: { labels: [{ key: 'app', value: 'web' }] } },
      runtimeConfig: { mac: '02:11:22:33:44:55', 'io.kubernetes.cri.pod-annotations': annotations },
    };
    await must(host, 'ADD', { pod, ...named('a', conf) });
    const before = JSON.parse(readFileSync(recordOf(host, 'a'), 'utf8'));
    assert.deepEqual(before.allowedSources, ['10.9.0.0/24', 'fd00:9::/64']);
    for (const lose of [(path: string) => truncateSync(path, 100), rmSync]) {
      lose(recordOf(host, 'a'));
      await host.service.collectGarbage();
      assert.deepEqual(JSON.parse(readFileSync(recordOf(host, 'a'), 'utf8')), before);
      assert.deepEqual(host.service.problems, []);
    }
    await must(host, 'DEL', { pod, ...named('a', conf) });
    await eventually('nothing is left', () => leftovers(host).length === 0);
  });

  test(`${wiring}: a pod that lost its record and what it asked for is named in the status`, async () => {
    await using host = new Host({ wiring });
    using pod = new Pod();
    await must(host, 'ADD', { pod, ...named('a', { runtimeConfig: { mac: '02:11:22:33:44:55' } }) });
    rmSync(host.stateDir, { recursive: true });
    await using next = new Host({ dir: host.dir, netns: host.netns, wiring });
    for (let run = 0; run < 2; run++) {
      await next.service.collectGarbage();
      // Nobody else has it.
      assert.equal(next.pods.get('a eth0')?.mac, '02:11:22:33:44:55');
      assert.deepEqual(
        next.service.problems.map(({ id, severity }) => [id, severity]),
        [
          ['pod-identity-unknown', 'warning'],
          ['pod-requests-lost', 'warning'],
        ],
      );
      assert.match(next.service.problems[0]?.what ?? '', /default\/a/);
      assert.match(
        next.service.problems[1]?.fix ?? '',
        /host ports, a bandwidth, labels .* or the annotation/,
      );
    }
    for (const address of ['10.90.1.2', 'fd00:90:1::2']) assert.ok(pings(next.netns, address), address);
    await must(next, 'DEL', { pod, ...named('a') });
    await eventually('nothing is left', () => leftovers(next).length === 0);
    await next.service.collectGarbage();
    assert.deepEqual(next.service.problems, []);
  });
}

test('a pod whose interface has the indices of another pod’s does not take that with it', async () => {
  for (const wiring of WIRINGS) {
    await using host = new Host({ wiring });
    using pod = new Pod();
    using inner = new Pod();
    using victim = new Pod();
    await must(host, 'ADD', { pod, ...named('a') });
    await must(host, 'ADD', { pod: victim, ...named('b') });
    const { hostDevice = '' } = host.pods.get('b eth0') ?? {};
    const outer = ipOne(host.netns, 'link', 'show', 'dev', hostDevice).ifindex;
    const own = ipOne(victim.name, 'link', 'show', 'dev', 'eth0').ifindex;
    inside(pod, 'link', 'del', 'eth0');
    const peer = ['peer', 'name', 'x', 'index', `${outer}`, 'netns', inner.name];
    inside(pod, 'link', 'add', 'eth0', 'index', `${own}`, 'type', 'veth', ...peer);
    rmSync(recordOf(host, 'a'));
    await must(host, 'DEL', { pod, ...named('a') });
    assert.ok(pings(host.netns, '10.90.1.3'));
    assert.ok(ip(host.netns, 'link').some(({ ifname }) => ifname === hostDevice));
  }
});

test('bridge: a pod whose record and reservations are lost gets no address from what it shows', async () => {
  await using host = new Host();
  using pod = new Pod();
  using victim = new Pod();
  await must(host, 'ADD', { pod, ...named('a') });
  await must(host, 'ADD', { pod: victim, ...named('b') });
  inside(pod, 'addr', 'add', '10.90.1.3/24', 'dev', 'eth0');
  rmSync(host.dataDir, { recursive: true });
  truncateSync(recordOf(host, 'a'), 100);
  await using next = new Host({ dir: host.dir, netns: host.netns });
  await next.service.collectGarbage();
  const rebuilt = next.pods.get('a eth0');
  assert.deepEqual([rebuilt?.addresses, typeof rebuilt?.mac], [[], 'string']);
  const [problem] = next.service.problems;
  assert.deepEqual([problem?.id, problem?.severity], ['pod-identity-unknown', 'error']);
  assert.match(`${problem?.what} ${problem?.fix}`, /default\/a .*delete the pod/);
  assert.deepEqual(next.pods.get('b eth0')?.addresses ?? host.pods.get('b eth0')?.addresses, [
    '10.90.1.3',
    'fd00:90:1::3',
  ]);
});

test('routed: a reservation that names nobody does not cost the pod its address, another’s does', async () => {
  await using host = new Host({ wiring: 'routed' });
  using pod = new Pod();
  await must(host, 'ADD', { pod, ...named('a') });
  const [four = '', six = ''] = host.pods.get('a eth0')?.addresses ?? [];
  // The two are links to one file.
  for (const address of [four, six]) rmSync(join(host.dataDir, 'cbr0', address));
  writeFileSync(join(host.dataDir, 'cbr0', four), '');
  writeFileSync(join(host.dataDir, 'cbr0', six), 'another\r\neth0');
  truncateSync(recordOf(host, 'a'), 100);
  await using next = new Host({ dir: host.dir, netns: host.netns, wiring: 'routed' });
  await next.service.collectGarbage();
  assert.deepEqual(next.pods.get('a eth0')?.addresses, [four]);
  assert.equal(readFileSync(join(host.dataDir, 'cbr0', six), 'utf8'), 'another\r\neth0');
});

test('routed: without reservations, the node’s own routes say whose an address is', async () => {
  await using host = new Host({ wiring: 'routed' });
  using pod = new Pod();
  await must(host, 'ADD', { pod, ...named('a') });
  inside(pod, 'addr', 'add', '10.90.1.3/32', 'dev', 'eth0');
  rmSync(host.dataDir, { recursive: true });
  truncateSync(recordOf(host, 'a'), 100);
  await host.service.collectGarbage();
  assert.deepEqual(host.pods.get('a eth0')?.addresses, ['10.90.1.2', 'fd00:90:1::2']);
  assert.deepEqual(host.service.problems, []);
});
