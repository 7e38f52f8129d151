import assert from 'node:assert/strict';
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { chooseParent } from '../../../src/cluster/parent.ts';
import { parseIp } from '../../../src/ip/address.ts';
import { Lan, NODE, run, SERVER } from '../../dhcp/lan.ts';
import { call, type Host, ip, ipOne, must, Pod, pings } from '../host.ts';

const SUBNET = '192.168.77.64/26';

/** A node whose pods have addresses of its own. */
function host(lan: Lan): Promise<Host> {
  const config = { wiring: 'macvlan', mode: 'bridge', gateways: { 4: parseIp(SERVER) } } as const;
  return lan.host({ hasDhcp: false, config }, [SUBNET]);
}

const names = (pod: Pod): string[] => ip(pod.name, 'link').map(({ ifname }) => ifname);

test('a pod is on the physical network, and gone from it after its DEL', async () => {
  await using lan = new Lan();
  const first = await host(lan);
  using pod = new Pod();
  using other = new Pod();
  const result = await must(first, 'ADD', { pod });
  await must(first, 'ADD', { pod: other, id: 'pod-1' });
  assert.deepEqual(
    result.ips.map(({ address, gateway }) => [address, gateway]),
    [['192.168.77.66/24', SERVER]],
  );
  assert.deepEqual(result.routes, [
    { dst: `${NODE}/32`, scope: 253 },
    { dst: '0.0.0.0/0', gw: SERVER },
  ]);
  const link = ipOne(pod.name, 'link', 'show', 'dev', 'eth0');
  assert.equal(link.linkinfo?.info_kind, 'macvlan');
  assert.equal(link.address, result.interfaces[0]?.mac);
  for (const address of [SERVER, '192.168.77.67']) assert.ok(pings(pod.name, address), address);
  assert.ok(pings(lan.server, '192.168.77.66'));
  assert.equal(first.pods.get('pod-0 eth0')?.hostDevice, undefined);
  assert.equal(first.pods.get('pod-0 eth0')?.mac, link.address);

  const conf = { prevResult: result };
  await must(first, 'CHECK', { pod, conf });
  const again = await call(first, 'ADD', { pod });
  assert.match(String(again.out?.msg), /already has interface eth0/);
  // The next agent knows the pod, and that it lives.
  const second = await host(lan);
  await second.service.collectGarbage();
  await must(second, 'CHECK', { pod, conf });
  run(pod.name, `neigh del ${NODE} dev eth0`);
  const { out } = await call(second, 'CHECK', { pod, conf });
  assert.match(String(out?.msg), /lacks the permanent neighbour 192\.168\.77\.10/);

  await must(second, 'DEL', { pod });
  assert.deepEqual(names(pod), ['lo']);
  await must(second, 'DEL', { pod });
  const { ips } = await must(second, 'ADD', { pod, id: 'pod-2' });
  assert.equal(ips.length, 1);
});

test('a pod without an IPv6 address has no IPv6 there', async () => {
  await using lan = new Lan();
  using pod = new Pod();
  await must(await host(lan), 'ADD', { pod });
  const all = ip(pod.name, 'address', 'show', 'dev', 'eth0').flatMap(({ addr_info }) => addr_info);
  assert.deepEqual(
    all.map(({ local }) => local),
    ['192.168.77.66'],
  );
});

test('a DEL without a record removes the interface, too', async () => {
  await using lan = new Lan();
  using pod = new Pod();
  await must(await host(lan), 'ADD', { pod });
  await lan.stop();
  rmSync(join(lan.dir, 'state'), { recursive: true });
  await must(await host(lan), 'DEL', { pod });
  assert.deepEqual(names(pod), ['lo']);
});

test('a pod whose namespace is gone is collected, and its address is free again', async () => {
  await using lan = new Lan();
  const node = await host(lan);
  {
    using pod = new Pod();
    await must(node, 'ADD', { pod });
  }
  await node.service.collectGarbage();
  assert.equal(node.pods.size, 0);
  assert.deepEqual(node.warnings, []);
});

const REFUSED = [
  [{ runtimeConfig: { portMappings: [{ hostPort: 80, containerPort: 80 }] } }, 2, /portMappings/],
  [{ runtimeConfig: { bandwidth: { ingressRate: 8000, ingressBurst: 8000 } } }, 2, /bandwidth/],
  [{ hairpinMode: true }, 2, /hairpinMode/],
  [{ isGateway: true }, 2, /isGateway/],
  [{ mtu: 1400 }, 2, /mtu/],
] as const;

test('what the node could not do for these pods is refused', async () => {
  await using lan = new Lan();
  const node = await host(lan);
  using pod = new Pod();
  for (const [conf, code, message] of REFUSED) {
    const { exit, out } = await call(node, 'ADD', { pod, conf });
    assert.equal(exit, 1, JSON.stringify(conf));
    assert.equal(out?.code, code);
    assert.match(String(out?.msg), message);
  }
  assert.deepEqual(names(pod), ['lo']);
});

test('a parent that is missing or taken is named, and nothing is left', async () => {
  await using lan = new Lan();
  const config = { wiring: 'macvlan', mode: 'bridge', parent: 'eth9', gateways: {} } as const;
  const underlay = { dev: 'eth0', mtu: 1500, addresses: {}, onLink: [] };
  const parent = () => chooseParent(config, underlay, { interfaces: [] });
  const node = await lan.host({ hasDhcp: false, config, parent }, [SUBNET]);
  using pod = new Pod();
  const missing = await call(node, 'ADD', { pod });
  assert.equal(missing.out?.code, 7);
  assert.match(String(missing.out?.msg), /macvlan\.parent: this node has no interface eth9/);

  // Enslaved after the agent looked.
  run(lan.node, 'link add br0 type bridge');
  run(lan.node, 'link set eth0 master br0');
  const taken = await call(await host(lan), 'ADD', { pod });
  assert.equal(taken.out?.code, 11);
  assert.match(`${taken.out?.msg}; ${taken.out?.details}`, /eth0 cannot be shared now; a bridge/);
  assert.deepEqual(names(pod), ['lo']);
});

test('in mode passthru, the parent is one pod’s', async () => {
  await using lan = new Lan();
  const config = { wiring: 'macvlan', mode: 'passthru', gateways: {} } as const;
  const node = await lan.host({ hasDhcp: false, config }, [SUBNET]);
  using pod = new Pod();
  using other = new Pod();
  await must(node, 'ADD', { pod });
  assert.ok(pings(pod.name, SERVER));
  const { out } = await call(node, 'ADD', { pod: other, id: 'pod-1' });
  assert.match(`${out?.msg}; ${out?.details}`, /eth0 cannot be shared now; in mode passthru it is one pod’s/);
});

test('a record whose namespace’s inode is another pod’s by now takes nothing from that pod', async () => {
  await using lan = new Lan();
  using pod = new Pod();
  using other = new Pod();
  const node = await host(lan);
  await must(node, 'ADD', { pod, id: 'gone' });
  await must(node, 'ADD', { pod: other, id: 'alive' });
  await lan.stop();
  // As if the kernel had given the inode of the one to the other.
  const dir = join(lan.dir, 'state', 'attachments');
  const [gone, alive] = ['gone', 'alive'].map((id) => join(dir, `cbr0:${id}:eth0:interface.json`));
  const { netnsId } = JSON.parse(readFileSync(alive ?? '', 'utf8'));
  const record = { ...JSON.parse(readFileSync(gone ?? '', 'utf8')), netns: '/run/netns/fn-nowhere', netnsId };
  writeFileSync(gone ?? '', JSON.stringify(record));
  const next = await host(lan);
  await next.service.collectGarbage();
  assert.equal(existsSync(gone ?? ''), false);
  assert.deepEqual(names(other), ['lo', 'eth0']);
  await must(next, 'DEL', { pod: other, id: 'gone' });
  assert.deepEqual(names(other), ['lo', 'eth0']);
  await must(next, 'DEL', { pod: other, id: 'alive' });
  assert.deepEqual(names(other), ['lo']);
});

for (const [what, damage] of [
  ['empty', (file: string) => writeFileSync(file, '')],
  ['lost', (file: string) => rmSync(file)],
] as const) {
  test(`the record of a pod that runs is rebuilt if it is ${what}`, async () => {
    await using lan = new Lan();
    using pod = new Pod();
    const first = await host(lan);
    await must(first, 'ADD', { pod });
    await lan.stop();
    const file = join(lan.dir, 'state', 'attachments', 'cbr0:pod-0:eth0:interface.json');
    const before = readFileSync(file, 'utf8');
    damage(file);
    const next = await host(lan);
    await next.service.collectGarbage();
    assert.deepEqual(JSON.parse(readFileSync(file, 'utf8')), JSON.parse(before));
    assert.deepEqual([...next.pods.values()], [...first.pods.values()]);
    assert.deepEqual(next.service.problems, []);
  });
}

test('who else shows a pod’s alias is not taken for it, and its address stays reserved', async () => {
  await using lan = new Lan();
  using pod = new Pod();
  using liar = new Pod();
  using third = new Pod();
  const node = await host(lan);
  await must(node, 'ADD', { pod });
  await must(node, 'ADD', { pod: liar, id: 'liar' });
  const { ifalias = '' } = ipOne(pod.name, 'link', 'show', 'dev', 'eth0');
  ip(liar.name, 'link', 'set', 'eth0', 'alias', ifalias);
  const file = join(lan.dir, 'state', 'attachments', 'cbr0:pod-0:eth0:interface.json');
  writeFileSync(file, '');
  await node.service.collectGarbage();
  assert.deepEqual(
    node.service.problems.map(({ id }) => id),
    ['pod-record-unreadable'],
  );
  const { ips } = await must(node, 'ADD', { pod: third, id: 'next' });
  assert.equal(ips[0]?.address, '192.168.77.68/24');
});
