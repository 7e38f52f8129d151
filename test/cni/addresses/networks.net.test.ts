import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readdirSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { type CallOptions, call, eventually, Host, leftovers, must, Pod, pings } from '../host.ts';

const WIRINGS = ['bridge', 'routed'] as const;
const net = (name: string): Pick<CallOptions, 'conf'> => ({ conf: { name } });

for (const wiring of WIRINGS) {
  test(`${wiring}: networks of any name share the node’s subnets`, async () => {
    await using host = new Host({ wiring });
    const pods = Array.from({ length: 6 }, () => new Pod());
    try {
      const seen: string[] = [];
      const macs: (string | undefined)[] = [];
      for (const [i, pod] of pods.entries()) {
        const { ips, interfaces } = await must(host, 'ADD', {
          pod,
          id: `p${i}`,
          ...net(i % 2 ? 'netA' : 'netB'),
        });
        seen.push(...ips.map(({ address }) => address.split('/')[0] ?? ''));
        macs.push(interfaces.at(-1)?.mac);
      }
      assert.equal(new Set(seen).size, 12, seen.join());
      assert.equal(new Set(macs).size, 6);
      for (const address of seen) assert.ok(pings(host.netns, address), address);
      assert.deepEqual(readdirSync(host.dataDir).sort(), ['netA', 'netB']);
      for (const i of pods.keys()) await must(host, 'DEL', { id: `p${i}`, ...net(i % 2 ? 'netA' : 'netB') });
      await eventually('nothing is left', () => leftovers(host).length === 0);
    } finally {
      for (const pod of pods) pod[Symbol.dispose]();
    }
  });
}

/** Reserves an address as an earlier version, or another plugin, did for a pod of this network. */
function reserve(host: Host, network: string, address: string, text: string): void {
  mkdirSync(join(host.dataDir, network), { recursive: true });
  writeFileSync(join(host.dataDir, network, address), text);
}

test('reservations from before networks shared their subnets are kept and respected', async () => {
  await using host = new Host({ subnets: ['10.90.1.0/29'], networks: [] });
  reserve(host, 'netA', '10.90.1.2', 'old-a\r\neth0');
  // Given twice by an earlier version.
  reserve(host, 'netB', '10.90.1.2', 'old-b\r\neth0');
  reserve(host, 'netB', '10.90.1.3', 'old-c\r\neth0');
  using pod = new Pod();
  const { ips } = await must(host, 'ADD', { pod, ...net('netA') });
  assert.equal(ips[0]?.address, '10.90.1.4/29');
  const taken = await call(host, 'ADD', { pod, id: 'x', ifName: 'eth1', env: { CNI_ARGS: 'IP=10.90.1.3' } });
  assert.match(String(taken.out?.msg), /10\.90\.1\.3 is not available/);
  await must(host, 'DEL', { id: 'old-b', ...net('netB') });
  assert.ok(!existsSync(join(host.dataDir, 'netB', '10.90.1.2')));
  assert.ok(existsSync(join(host.dataDir, 'netA', '10.90.1.2')), 'the other pod keeps its address');
  await must(host, 'DEL', { id: 'old-c', ...net('netB') });
  await must(host, 'DEL', { id: 'old-a', ...net('netA') });
  const again = await must(host, 'ADD', { pod, id: 'x', ifName: 'eth1', env: { CNI_ARGS: 'IP=10.90.1.2' } });
  assert.equal(again.ips[0]?.address, '10.90.1.2/29');
});

test('a subnet is exhausted when all networks together have used it up', async () => {
  await using host = new Host({ subnets: ['10.90.1.0/29'], networks: [] });
  for (let n = 2; n <= 6; n++) reserve(host, n % 2 ? 'netA' : 'netB', `10.90.1.${n}`, `old-${n}\r\neth0`);
  using pod = new Pod();
  const refused = await call(host, 'ADD', { pod });
  assert.deepEqual([refused.exit, refused.out?.code], [1, 11]);
  assert.match(String(refused.out?.msg), /no IP addresses available/);
  await must(host, 'DEL', { id: 'old-3', ...net('netA') });
  const { ips } = await must(host, 'ADD', { pod });
  assert.equal(ips[0]?.address, '10.90.1.3/29');
});

test('ranges that a configuration names outside the node’s subnets stay its own', async () => {
  await using host = new Host({ subnets: ['10.90.1.0/24'], networks: [] });
  const ranges = (name: string, subnet: string): Pick<CallOptions, 'conf'> => ({
    conf: { name, bridge: `br-${name}`, ipam: { type: 'host-local', ranges: [[{ subnet }]] } },
  });
  for (const [subnet, expected] of [
    ['10.7.0.0/24', ['10.7.0.2/24', '10.7.0.2/24']],
    ['10.90.1.0/24', ['10.90.1.2/24', '10.90.1.3/24']],
  ] as const) {
    const given: (string | undefined)[] = [];
    for (const name of ['one', 'two']) {
      using pod = new Pod();
      const { ips } = await must(host, 'ADD', { pod, id: `${name}-${subnet[3]}`, ...ranges(name, subnet) });
      given.push(ips[0]?.address);
    }
    assert.deepEqual(given, expected);
  }
});

test('empty reservations go with the next collection, except those of a concurrent ADD', async () => {
  await using host = new Host({ subnets: ['10.90.1.0/24'], networks: [] });
  for (const network of ['cbr0', 'another']) {
    reserve(host, network, '10.90.1.2', '');
    const then = Date.now() / 1000 - 61;
    utimesSync(join(host.dataDir, network, '10.90.1.2'), then, then);
    reserve(host, network, '10.90.1.3', '');
    reserve(host, network, '10.90.1.4', 'made-by-flannel\r\neth0');
  }
  await host.service.collectGarbage();
  for (const network of ['cbr0', 'another'])
    assert.deepEqual(readdirSync(join(host.dataDir, network)).sort(), ['10.90.1.3', '10.90.1.4']);
});
