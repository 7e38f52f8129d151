import assert from 'node:assert/strict';
import { truncateSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import type { WiringName } from '../../../src/cluster/wiring.ts';
import { type CallOptions, call, Host, ip, ipOne, must, Pod, pings } from '../host.ts';

const named = (id: string): CallOptions => ({
  id,
  env: { CNI_ARGS: `IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=${id}` },
});
const macOf = (pod: Pod) => ipOne(pod.name, 'link', 'show', 'dev', 'eth0').address;

/** The ways to ask for a MAC, by the field that the error names. */
const WAYS: Record<string, (mac: string) => CallOptions> = {
  'runtimeConfig.mac': (mac) => ({ ...named('b'), conf: { runtimeConfig: { mac } } }),
  'args.cni.mac': (mac) => ({ ...named('b'), conf: { args: { cni: { mac } } } }),
  'MAC in CNI_ARGS': (mac) => ({
    id: 'b',
    env: { CNI_ARGS: `IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=b;MAC=${mac}` },
  }),
};
const ANNOTATION = (mac: string): CallOptions => ({
  ...named('b'),
  conf: {
    runtimeConfig: {
      'io.kubernetes.cri.pod-annotations': { 'cni.projectcalico.org/hwAddr': mac },
    },
  },
});

for (const wiring of ['bridge', 'routed'] as const satisfies readonly WiringName[]) {
  test(`${wiring}: a MAC that is another’s on the node is refused, with the field and its holder`, async () => {
    await using host = new Host({ wiring });
    using a = new Pod();
    using b = new Pod();
    await must(host, 'ADD', { pod: a, ...named('a') });
    const ways = { ...WAYS, ...(wiring === 'routed' && { 'cni.projectcalico.org/hwAddr': ANNOTATION }) };
    const device = wiring === 'bridge' ? 'cni0' : (host.pods.get('a eth0')?.hostDevice ?? '');
    const deviceMac = ipOne(host.netns, 'link', 'show', 'dev', device).address;
    for (const [field, ask] of Object.entries(ways)) {
      for (const [mac, holder] of [
        [macOf(a), 'default/a'],
        [macOf(a).toUpperCase(), 'default/a'],
        [deviceMac, `the node’s device ${device}`],
      ] as const) {
        const { exit, out } = await call(host, 'ADD', { pod: b, ...ask(mac) });
        assert.deepEqual(
          [exit, out?.code, out?.msg],
          [1, 7, `${field}: ${mac.toLowerCase()} is the MAC of ${holder}`],
        );
      }
    }
    assert.deepEqual(
      ip(b.name, 'link').map(({ ifname }) => ifname),
      ['lo'],
    );
    // Once the holder is gone, it is free.
    const mac = macOf(a);
    await must(host, 'DEL', { pod: a, ...named('a') });
    await must(host, 'ADD', { pod: b, ...named('b'), conf: { runtimeConfig: { mac } } });
    assert.equal(macOf(b), mac);
  });

  test(`${wiring}: a pod that goes without a DEL keeps its MAC from nobody`, async () => {
    await using host = new Host({ wiring });
    const a = new Pod();
    using b = new Pod();
    const conf = { runtimeConfig: { mac: '02:00:00:00:00:77' } };
    await must(host, 'ADD', { pod: a, ...named('a'), conf });
    a[Symbol.dispose]();
    for (let tries = 0; ip(host.netns, 'link').some(({ ifname }) => /^(veth|cali)/.test(ifname)); tries++) {
      assert.ok(tries < 200);
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    await must(host, 'ADD', { pod: b, ...named('b'), conf });
  });
}

test('the MAC of a pod whose record is damaged, or that another plugin put on the bridge, is refused', async () => {
  await using host = new Host();
  using damaged = new Pod();
  using foreign = new Pod();
  using b = new Pod();
  await must(host, 'ADD', { pod: damaged, ...named('a') });
  truncateSync(join(host.stateDir, 'attachments', 'cbr0:a:eth0:interface.json'), 50);
  const make = ['link', 'add', 'theirs', 'type', 'veth', 'peer', 'name', 'eth0', 'netns', foreign.name];
  ip(host.netns, ...make);
  ip(host.netns, 'link', 'set', 'theirs', 'master', 'cni0', 'up');
  ip(foreign.name, 'link', 'set', 'eth0', 'up');
  ip(foreign.name, 'addr', 'add', '10.90.1.200/24', 'dev', 'eth0');
  assert.ok(pings(foreign.name, '10.90.1.1', 5), 'the bridge learns its MAC');
  for (const [pod, holder] of [
    [damaged, 'a'],
    [foreign, 'something behind theirs'],
  ] as const) {
    const { out } = await call(host, 'ADD', {
      pod: b,
      ...named('b'),
      conf: { runtimeConfig: { mac: macOf(pod) } },
    });
    assert.equal(out?.msg, `runtimeConfig.mac: ${macOf(pod)} is the MAC of ${holder}`);
  }
});

test('two that ask for one MAC at the same time: one gets it', async () => {
  await using host = new Host();
  const pods = Array.from({ length: 4 }, () => new Pod());
  try {
    const conf = { runtimeConfig: { mac: '02:00:00:00:00:77' } };
    const answers = await Promise.all(
      pods.map((pod, i) => call(host, 'ADD', { pod, ...named(`p${i}`), conf })),
    );
    assert.deepEqual(answers.map(({ exit }) => exit).sort(), [0, 1, 1, 1]);
  } finally {
    for (const pod of pods) pod[Symbol.dispose]();
  }
});

test('a pod whose MAC another has asked for before gets another', async () => {
  await using host = new Host();
  using first = new Pod();
  using a = new Pod();
  using b = new Pod();
  await must(host, 'ADD', { pod: first, ...named('first') });
  const mac = macOf(first);
  await must(host, 'DEL', { pod: first, ...named('first') });
  // The MAC that goes with 10.90.1.2, which is free again.
  await must(host, 'ADD', { pod: a, ...named('a'), conf: { runtimeConfig: { mac, ips: ['10.90.1.9'] } } });
  await must(host, 'ADD', { pod: b, ...named('b'), conf: { runtimeConfig: { ips: ['10.90.1.2'] } } });
  assert.equal(macOf(a), mac);
  assert.notEqual(macOf(b), mac);
  const known = [...host.pods.values()];
  for (const id of ['a', 'b'])
    truncateSync(join(host.stateDir, 'attachments', `cbr0:${id}:eth0:interface.json`), 100);
  host.pods.clear();
  await host.service.collectGarbage();
  assert.deepEqual(
    [...host.pods.values()].toSorted((x, y) => x.containerId.localeCompare(y.containerId)),
    known,
  );
  assert.deepEqual(host.service.problems, []);
});
