import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseIp } from '../../../src/ip/address.ts';
import { type Cidr, parseCidr } from '../../../src/ip/cidr.ts';
import { eventually, startEmbedded } from '../servers.ts';
import { lastView, outcome, PREFIX, self, TestCluster } from './cluster.ts';

const NETWORK = { Network: '10.5.0.0/16', Backend: { Type: 'vxlan' } };
const DUAL = { ...NETWORK, EnableIPv6: true, IPv6Network: 'fd00:5::/48' };
const subnet = (text: string): Cidr => parseCidr(text);

async function start(t: TestContext, config: object = NETWORK): Promise<TestCluster> {
  const server = await startEmbedded();
  t.after(() => server.stop());
  const cluster = new TestCluster(t, server.endpoint);
  await cluster.configure(config);
  return cluster;
}

test('a lease is stored as flannel does, with our record attached to the same etcd lease', async (t) => {
  const cluster = await start(t);
  await cluster.join(self(1), { 4: subnet('10.5.34.0/24') });
  const { items } = await cluster.kv.list(`${PREFIX}/`);
  const [, record, lease] = items;
  assert.deepEqual(
    items.map(({ key }) => key),
    ['/net/config', '/net/flatnet/nodes/node1', '/net/subnets/10.5.34.0-24'],
  );
  assert.equal(
    lease?.value,
    '{"PublicIP":"192.0.2.1","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"02:00:00:00:00:01"}}',
  );
  assert.equal(record?.lease, lease?.lease);
  assert.equal(record?.modRevision, lease?.modRevision, 'one transaction');
  const ttl = await cluster.kv.timeToLive(lease?.lease ?? '');
  assert.ok(ttl > 86_300 && ttl <= 86_400, `${ttl}`);
});

test('dual-stack and IPv6-only leases have their own key formats', async (t) => {
  const cluster = await start(t, DUAL);
  await cluster.join(self(1, { dual: true }), { 4: subnet('10.5.1.0/24'), 6: subnet('fd00:5:0:1::/64') });
  assert.ok((await cluster.keys()).includes('subnets/10.5.1.0-24&fd00:5:0:1::-64'));
  // A node without IPv6 still gets an IPv4 subnet.
  assert.deepEqual((await cluster.join(self(2), { 4: subnet('10.5.2.0/24') })).subnets, ['10.5.2.0/24']);
  await cluster.configure({ ...DUAL, EnableIPv4: false });
  const six = self(3, { addresses: { 6: parseIp('2001:db8::3') } });
  await cluster.join(six, { 6: subnet('fd00:5:0:3::/64') });
  assert.ok((await cluster.keys()).includes('subnets/fd00:5:0:3::-64'));
  await assert.rejects(cluster.join(self(4)), { code: 'CONFIG_INVALID', message: /no IPv6 address/ });
});

test('errors name what to fix', async (t) => {
  const cluster = await start(t, { Network: '10.5.0.0/22', SubnetLen: 24 });
  await assert.rejects(cluster.join(self(1, { name: 'a/b' })), { code: 'NAME_INVALID' });
  for (const i of [1, 2, 3]) await cluster.join(self(i));
  await assert.rejects(cluster.join(self(4)), { code: 'OUT_OF_SUBNETS', message: /10\.5\.0\.0\/22/ });
  await cluster.kv.put(`${PREFIX}/config`, 'nonsense');
  await assert.rejects(cluster.store().network.read(), { code: 'CONFIG_INVALID', message: /\/net\/config/ });
  await cluster.kv.delete(`${PREFIX}/config`);
  await assert.rejects(cluster.join(self(5)), { code: 'NOT_FOUND', message: /net-conf\.json/ });
  await assert.rejects(cluster.store().network.read(), { code: 'NOT_FOUND' });
});

test('a restarted node keeps its subnet, identified by address, name or previous subnet', async (t) => {
  const cluster = await start(t);
  const first = await cluster.join(self(1));
  first.stop();
  const again = await cluster.join(self(1));
  assert.deepEqual(again.subnets, first.subnets, 'same name and address');
  again.stop();
  const moved = self(1, { addresses: { 4: parseIp('192.0.2.101') } });
  const elsewhere = await cluster.join(moved);
  assert.deepEqual(
    elsewhere.subnets,
    first.subnets,
    'same name; the address changed while the agent was down',
  );
  await elsewhere.release();
  assert.deepEqual(await cluster.keys(), ['config']);
  const later = await cluster.join(self(7), { 4: first.subnets[0] ?? assert.fail() });
  assert.deepEqual(later.subnets, first.subnets, 'the previous subnet is free');
  const other = await cluster.join(self(8), { 4: first.subnets[0] ?? assert.fail() });
  assert.notDeepEqual(other.subnets, first.subnets, 'the previous subnet is taken');
  const out = await cluster.join(self(9), { 4: subnet('10.99.1.0/24') });
  assert.match(out.subnets[0] ?? '', /^10\.5\./, 'the previous subnet is of another network');
});

test('a plain flannel lease at our address becomes ours; a renamed machine keeps its own', async (t) => {
  const cluster = await start(t, DUAL);
  const flannel = '{"PublicIP":"192.0.2.1","PublicIPv6":null,"BackendType":"vxlan"}';
  const { id } = await cluster.kv.grant(600);
  await cluster.kv.put(`${PREFIX}/subnets/10.5.77.0-24`, flannel, { lease: id });
  const claim = await cluster.join(self(1, { dual: true }));
  assert.equal(claim.subnets[0], '10.5.77.0/24', 'the IPv4 half is kept when IPv6 is added');
  assert.equal(
    (await cluster.keys()).filter((key) => key.startsWith('subnets/')).length,
    1,
    'the old key is deleted',
  );
  claim.stop();
  const [v4, v6] = claim.subnets;
  const remembered = { ...(v4 && { 4: v4 }), ...(v6 && { 6: v6 }) };
  const renamed = await cluster.join(self(1, { name: 'other', dual: true }), remembered);
  assert.deepEqual(renamed.subnets, claim.subnets);
  renamed.stop();
  const stranger = await cluster.join(self(1, { name: 'stranger', dual: true }));
  assert.notEqual(stranger.subnets[0], claim.subnets[0], 'only the address matches, not the previous subnet');
});

test('a lease that no longer fits the configuration is released', async (t) => {
  const cluster = await start(t);
  const old = await cluster.join(self(1));
  old.stop();
  await cluster.configure({ ...NETWORK, SubnetLen: 26 });
  const claim = await cluster.join(self(1));
  assert.match(claim.subnets[0] ?? '', /\/26$/);
  assert.equal((await cluster.keys()).filter((key) => key.startsWith('subnets/')).length, 1);
});

test('reservations are never assigned to others, attached to a lease or deleted', async (t) => {
  const cluster = await start(t, { Network: '10.5.0.0/22', SubnetLen: 24 });
  const key = (third: number): string => `${PREFIX}/subnets/10.5.${third}.0-24`;
  await cluster.kv.put(key(1), '{"PublicIP":"192.0.2.1"}');
  await cluster.kv.put(key(2), 'reserved');
  const mine = await cluster.join(self(1), {}, { leaseTtl: 3 });
  assert.deepEqual(mine.subnets, ['10.5.1.0/24']);
  const written = await cluster.kv.get(key(1));
  assert.equal(written?.lease, '0');
  assert.match(written?.value ?? '', /"BackendType":"vxlan"/);
  assert.deepEqual((await cluster.join(self(2))).subnets, ['10.5.3.0/24']);
  await assert.rejects(cluster.join(self(3)), { code: 'OUT_OF_SUBNETS' });
  await mine.publish(self(1, { labels: {} }));
  await sleep(1_500);
  assert.equal((await cluster.kv.get(key(1)))?.lease, '0', 'renewed');
  await mine.release();
  assert.equal((await cluster.kv.get(key(1)))?.lease, '0', 'released');
  assert.deepEqual((await cluster.join(self(1))).subnets, ['10.5.1.0/24']);
  assert.equal((await cluster.kv.get(key(2)))?.value, 'reserved');
});

test('a second live node with the same name is rejected; the first is unaffected', async (t) => {
  const cluster = await start(t);
  const claim = await cluster.join(self(1));
  const lost = outcome(claim.lost);
  const twin = self(1, { addresses: { 4: parseIp('192.0.2.99') } });
  await assert.rejects(cluster.join(twin), {
    code: 'NAME_TAKEN',
    object: 'node1',
    message: /a live node at 192\.0\.2\.1 already has this name/,
  });
  await sleep(200);
  assert.equal(lost.code, undefined);
  assert.equal(
    (await cluster.keys()).some((key) => key.includes('challenge')),
    false,
  );
});

test('an agent that takes over a node ends its predecessor’s claim', async (t) => {
  const cluster = await start(t);
  const first = await cluster.join(self(1));
  const lost = outcome(first.lost);
  const second = await cluster.join(self(1));
  assert.deepEqual(second.subnets, first.subnets);
  await eventually(() => lost.code === 'LEASE_LOST');
  await assert.rejects(first.publish(self(1, { labels: { x: 'late' } })), { code: 'LEASE_LOST' });
  const stillHeld = outcome(second.lost);
  await sleep(100);
  assert.equal(stillHeld.code, undefined);
});

test('a deleted key is restored; one taken by another node is lost', async (t) => {
  const cluster = await start(t, DUAL);
  const claim = await cluster.join(self(1, { dual: true }));
  const lost = outcome(claim.lost);
  const all = await cluster.keys();
  assert.equal(all.length, 5);
  for (const key of all.slice(1)) {
    await cluster.kv.delete(`${PREFIX}/${key}`);
    await eventually(async () => (await cluster.keys()).length === all.length);
  }
  const lease = all.find((key) => key.startsWith('subnets/')) ?? assert.fail();
  await cluster.kv.put(`${PREFIX}/${lease}`, '{"PublicIP":"192.0.2.1","BackendType":"edited"}');
  await eventually(async () => (await cluster.kv.get(`${PREFIX}/${lease}`))?.value.includes('"vxlan"'));
  assert.equal(lost.code, undefined);
  await cluster.kv.put(`${PREFIX}/${lease}`, '{"PublicIP":"192.0.2.66","BackendType":"vxlan"}');
  await eventually(() => lost.code === 'LEASE_LOST');
  await assert.rejects(claim.lost, { message: /192\.0\.2\.66 now holds it/ });
  const next = await cluster.join(self(1), { 4: claim.subnets[0] ?? assert.fail() });
  assert.notDeepEqual(next.subnets, claim.subnets, 'a lost subnet is not reclaimed');
});

test('a lease is renewed, reclaimed if ended by others, expires once stopped, and is deleted on release', async (t) => {
  const cluster = await start(t);
  const claim = await cluster.join(self(1), {}, { leaseTtl: 2 });
  const key = `${PREFIX}/flatnet/nodes/node1`;
  const before = await cluster.kv.get(key);
  await sleep(3_000);
  assert.deepEqual(await cluster.kv.get(key), before, 'kept alive, not rewritten');
  await cluster.kv.revoke(before?.lease ?? '');
  const after = await eventually(() => cluster.kv.get(key));
  assert.notEqual(after.lease, before?.lease);
  assert.equal((await cluster.keys()).length, 3);
  claim.stop();
  await sleep(300);
  assert.ok(await cluster.kv.get(key), 'stopping deletes nothing');
  await eventually(async () => !(await cluster.kv.get(key)), 4_000);
  const second = await cluster.join(self(2));
  await second.release();
  assert.deepEqual(await cluster.keys(), ['config']);
});

test('views: first the whole cluster, then every change, close ones combined', async (t) => {
  const cluster = await start(t);
  const first = await cluster.join(self(1));
  const views = cluster.views();
  const before = await lastView(views, ({ nodes }) => nodes.length === 1);
  assert.equal(views.length, 1);
  assert.deepEqual(before.nodes[0], { ...self(1), subnets: first.subnets });
  await Promise.all([2, 3, 4].map((i) => cluster.join(self(i))));
  const joined = await lastView(views, ({ nodes }) => nodes.length === 4);
  assert.ok(views.length <= 4);
  assert.deepEqual(
    joined.nodes.map(({ name }) => name),
    ['node1', 'node2', 'node3', 'node4'],
  );
  assert.equal(joined.nodes[0], before.nodes[0], 'an unchanged node is the same object');
  const changed = self(1, {
    backend: { type: 'vxlan', data: { 4: { VNI: 1, VtepMAC: '02:aa:aa:aa:aa:aa' } } },
  });
  await first.publish(changed);
  const published = await lastView(views, ({ nodes }) => nodes[0] !== before.nodes[0]);
  assert.deepEqual(published.nodes[0], { ...changed, subnets: first.subnets });
  await first.release();
  await lastView(views, ({ nodes }) => nodes.length === 3);
  await cluster.configure({ ...NETWORK, Backend: { Type: 'host-gw' } });
  await lastView(views, ({ network }) => network.backend.type === 'host-gw');
  const count = views.length;
  await cluster.configure({ Network: '10.5.0.0/33' });
  await eventually(() => cluster.warnings.some((text) => text.includes('/net/config')));
  assert.equal(views.length, count, 'an invalid configuration keeps the last');
});

test('a watch waits for a configuration, and ends with its signal or its store', async (t) => {
  const cluster = await start(t);
  await cluster.kv.delete(`${PREFIX}/config`);
  const store = cluster.store();
  const abort = new AbortController();
  const iterate = async (signal: AbortSignal): Promise<number> => {
    let count = 0;
    for await (const _ of store.feed.watch(signal)) if (++count === 1) abort.abort();
    return count;
  };
  const ends = [
    iterate(abort.signal),
    iterate(AbortSignal.timeout(50)),
    iterate(new AbortController().signal),
  ];
  assert.equal(await ends[1], 0);
  await cluster.configure(NETWORK);
  assert.equal(await ends[0], 1);
  store.close();
  await ends[2];
});
