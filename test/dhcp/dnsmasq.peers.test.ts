import assert from 'node:assert/strict';
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { now } from '../../src/dhcp/clock.ts';
import { call, eventually, ip, ipOne, must, Pod, pings } from '../cni/host.ts';
import { NO_DNSMASQ } from './dnsmasq.ts';
import { Lan, NODE, run, SERVER } from './lan.ts';
import { declinesTaken } from './taken.ts';

test('a pod’s lease is taken, renewed, followed by the next agent and given back', {
  skip: NO_DNSMASQ,
  timeout: 60_000,
}, async () => {
  await using lan = new Lan();
  await lan.serve('--dhcp-option=option:T1,3');
  const first = await lan.host();
  using pod = new Pod();
  const result = await must(first, 'ADD', { pod });
  const address = result.ips[0]?.address ?? '';
  const at = address.replace('/24', '');
  assert.match(address, /^192\.168\.77\.1[012]\d\/24$/);
  assert.deepEqual(result.dns, { nameservers: [SERVER], domain: 'lan.example' });
  assert.equal(result.routes.find(({ dst }) => dst === '0.0.0.0/0')?.gw, SERVER);
  assert.ok(pings(pod.name, SERVER), 'the pod reaches its gateway');
  assert.ok(pings(lan.server, at), 'others reach the pod');
  await must(first, 'CHECK', { pod, conf: { prevResult: result } });
  await eventually('a renewal', () => lan.count('REQUEST') >= 2, 6000);

  // Another agent goes on, and only its own file tells it of the lease.
  const second = await lan.host();
  await second.service.collectGarbage();
  const before = lan.count('ACK');
  await eventually('a renewal by the next agent', () => lan.count('ACK') > before, 6000);
  assert.equal(lan.leases.held(idIn(lan)), at);

  // Without that file, the record is enough.
  await lan.stop();
  rmSync(join(lan.dir, 'leases'), { recursive: true });
  const third = await lan.host();
  await third.service.collectGarbage();
  const known = lan.count('ACK');
  await eventually('a confirmation', () => lan.count('ACK') > known, 3000);
  await eventually('the lease is known again', () => leaseText(lan).includes(`"server":"${SERVER}"`));
  assert.equal(lan.leases.held(idIn(lan)), at);

  await must(third, 'DEL', { pod });
  await eventually('the release', () => lan.count('RELEASE') === 1);
  assert.equal(readdirSync(join(lan.dir, 'leases')).length, 0);
  assert.deepEqual(lan.warnings, []);
  assert.deepEqual(
    ip(pod.name, 'link').map(({ ifname }) => ifname),
    ['lo'],
  );
});

test('a lost record, or an unreadable one, gives back no lease of a pod that runs', {
  skip: NO_DNSMASQ,
  timeout: 60_000,
}, async () => {
  await using lan = new Lan();
  await lan.serve();
  using pod = new Pod();
  await must(await lan.host(), 'ADD', { pod });
  const file = join(lan.dir, 'state', 'attachments', 'cbr0:pod-0:eth0:interface.json');
  const before = JSON.parse(readFileSync(file, 'utf8'));
  for (const damage of [() => rmSync(file), () => writeFileSync(file, '')]) {
    await lan.stop();
    damage();
    const next = await lan.host();
    await next.service.collectGarbage();
    assert.equal(lan.count('RELEASE'), 0);
    assert.equal(readdirSync(join(lan.dir, 'leases')).length, 1);
    assert.deepEqual(JSON.parse(readFileSync(file, 'utf8')), before);
    assert.equal(next.pods.get('pod-0 eth0')?.mac, before.mac);
  }
  rmSync(file);
  const last = await lan.host();
  await must(last, 'DEL', { pod });
  await eventually('the release by a DEL', () => lan.count('RELEASE') === 1);

  await must(last, 'ADD', { pod });
  rmSync(file);
  ip(pod.name, 'link', 'delete', 'eth0');
  await last.service.collectGarbage();
  await eventually('the release of a pod that is gone', () => lan.count('RELEASE') === 2);
});

test('two pods have two leases', { skip: NO_DNSMASQ, timeout: 60_000 }, async () => {
  await using lan = new Lan();
  await lan.serve();
  const host = await lan.host();
  using a = new Pod();
  using b = new Pod();
  const results = await Promise.all([
    must(host, 'ADD', { pod: a, id: 'a' }),
    must(host, 'ADD', { pod: b, id: 'b' }),
  ]);
  assert.equal(new Set(results.map(({ ips }) => ips[0]?.address)).size, 2);
});

test('no pod gets the node’s own address, whatever the server offers', {
  skip: NO_DNSMASQ,
  timeout: 60_000,
}, async () => {
  await using lan = new Lan();
  await lan.serve(`--dhcp-range=${NODE},${NODE},255.255.255.0,120`);
  const host = await lan.host();
  using pod = new Pod();
  const { exit, out } = await call(host, 'ADD', { pod });
  assert.equal(exit, 1);
  assert.match(String(out?.msg), /192\.168\.77\.10 is an address of this node/);
  assert.match(lan.log, /DHCPOFFER\(eth0\) 192\.168\.77\.10 /);
  assert.equal(lan.count('REQUEST'), 0);
});

test(
  'an address that somebody uses already is declined, and no pod gets it',
  {
    skip: NO_DNSMASQ,
    timeout: 60_000,
  },
  () => declinesTaken({ wiring: 'macvlan', mode: 'bridge', gateways: {} }),
);

test('a lease is given back if another pod has the address by then, and if its ADD does not end', {
  skip: NO_DNSMASQ,
  timeout: 60_000,
}, async () => {
  await using lan = new Lan();
  const only = '192.168.77.150';
  await lan.serve(`--dhcp-range=${only},${only},255.255.255.0,120`);
  const host = await lan.host();
  using pod = new Pod();
  // By then: asked for the third time, after the offer and the confirmation.
  for (const [times, ownerOf, error] of [
    [1, (asked: number) => (asked > 2 ? 'another’s' : undefined), /192\.168\.77\.150 is another’s; check/],
    [2, (asked: number) => void (asked === 2 && lan.leases[Symbol.dispose]()), /abort/],
  ] as const) {
    let asked = 0;
    lan.ownerOf = () => ownerOf(++asked);
    const { exit, out } = await call(host, 'ADD', { pod });
    assert.equal(exit, 1);
    assert.match(`${out?.msg} ${out?.details}`, error);
    await eventually('it is given back', () => lan.count('RELEASE') === times);
    assert.deepEqual(lan.leases.all(), []);
  }
});

test('a refusal to a renewal, which is broadcast, takes the address from the pod at once, whatever the time', {
  skip: NO_DNSMASQ,
  timeout: 60_000,
}, async (t) => {
  await using lan = new Lan();
  await lan.serve('--dhcp-option=option:T1,3');
  const host = await lan.host();
  using pod = new Pod();
  await must(host, 'ADD', { pod });
  const { now: clock } = Date;
  t.mock.method(Date, 'now', () => clock() - 3_600_000);
  await lan.stopServer();
  lan.forget();
  await lan.serve('--dhcp-range=192.168.77.150,192.168.77.160,255.255.255.0,120');
  await eventually('the pod loses its address', () => lan.leases.problems.length > 0, 8000);
  assert.ok(lan.count('NAK') > 0);
  assert.deepEqual(
    lan.leases.problems.map(({ id }) => id),
    ['pod-lease-lost'],
  );
  assert.equal(
    ip(pod.name, 'address', 'show', 'dev', 'eth0')[0]?.addr_info.some(({ local }) =>
      local.includes('192.168'),
    ),
    false,
  );
});

test('a lost lease takes the address from the pod, and gives it back when the server does', {
  skip: NO_DNSMASQ,
  timeout: 60_000,
}, async () => {
  await using lan = new Lan();
  await lan.serve();
  const host = await lan.host();
  using pod = new Pod();
  const { ips } = await must(host, 'ADD', { pod });
  const address = ips[0]?.address ?? '';
  await lan.stop();
  // As if the server had not answered for all of the lease's time.
  const [name = ''] = readdirSync(join(lan.dir, 'leases'));
  const file = join(lan.dir, 'leases', name);
  const record = JSON.parse(leaseText(lan));
  const past = now() - 1000;
  const over = { ...record.lease, renewAt: past, rebindAt: past, endsAt: past };
  await lan.stopServer();
  writeFileSync(file, JSON.stringify({ ...record, lease: over }));
  await lan.host();
  await eventually('the pod loses its address', () => lan.leases.problems.length > 0, 10_000);
  assert.deepEqual(
    lan.leases.problems.map(({ id }) => id),
    ['pod-lease-lost'],
  );
  const own = () =>
    ipOne(pod.name, 'address', 'show', 'dev', 'eth0').addr_info.filter((each) => each.scope !== 'link');
  assert.deepEqual(own(), []);

  await lan.stop();
  // As if that agent had been killed before it took the address away.
  run(pod.name, `address add ${address} dev eth0`);
  await lan.serve();
  const at = address.replace('/24', '/32');
  run(lan.server, `address add ${at} dev lo`);
  await lan.host();
  await eventually('it is declined, as somebody uses it', () => lan.count('DECLINE') === 1, 5000);
  await eventually('the pod does not keep it', () => own().length === 0);
  const { address: holder } = ipOne(lan.server, 'link', 'show', 'dev', 'eth0');
  const [problem] = lan.leases.problems;
  assert.equal(problem?.cause, `${holder} used it when the DHCP server ${SERVER} last gave it back`);
  run(lan.server, `address delete ${at} dev lo`);

  await lan.stop();
  await lan.host();
  assert.equal(lan.leases.problems[0]?.cause, problem?.cause, 'the next agent knows it, too');
  await eventually('the pod has its address again', () => lan.leases.problems.length === 0, 5000);
  assert.ok(pings(lan.server, address.replace('/24', '')));
  assert.ok(ip(pod.name, 'route').some(({ dst, gateway }) => dst === 'default' && gateway === SERVER));
});

test('without a server, an ADD fails in time and leaves nothing', {
  skip: NO_DNSMASQ,
  timeout: 60_000,
}, async () => {
  await using lan = new Lan();
  const host = await lan.host();
  using pod = new Pod();
  run(lan.server, 'address flush dev eth0');
  const { exit, out } = await call(host, 'ADD', { pod });
  assert.equal(exit, 1);
  assert.equal(out?.code, 11);
  assert.match(String(out?.msg), /no server answers; check the server/);
  assert.deepEqual(
    ip(pod.name, 'link').map(({ ifname }) => ifname),
    ['lo'],
  );
});

function leaseText(lan: Lan): string {
  return readFileSync(join(lan.dir, 'leases', readdirSync(join(lan.dir, 'leases'))[0] ?? ''), 'utf8');
}

function idIn(lan: Lan): string {
  const [name = ''] = readdirSync(join(lan.dir, 'leases'));
  return decodeURIComponent(name.replace('.json', ''));
}
