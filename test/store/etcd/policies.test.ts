import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import { dirname } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { SILENT } from '../../../src/log.ts';
import { Holders } from '../../../src/policy/model/holders.ts';
import { policyText } from '../../../src/policy/model/policy.ts';
import type { PolicyView } from '../../../src/policy/model/view.ts';
import { problemText } from '../../../src/problem.ts';
import { PolicyKeys } from '../../../src/store/etcd/policy-keys.ts';
import { EtcdStore } from '../../../src/store/etcd/store.ts';
import { EtcdKv } from '../../../src/store/kv/client.ts';
import { exportStore } from '../../../src/transfer/export.ts';
import { facts, LEASES } from '../ports/facts.ts';
import { isolated, keeping, pod, policyViews, policyViewThat, portsOf } from '../ports/policies.ts';
import { eventually, type Server, startEmbedded, startEmbeddedProcess } from '../servers.ts';

const PREFIX = '/test';
const KEYS = new PolicyKeys(PREFIX);
const OBJECTS = KEYS.objects;

async function open(
  t: TestContext,
  server: Server,
  leaseTtl?: number,
): Promise<{ store: EtcdStore; kv: EtcdKv }> {
  const connect = (): EtcdKv => new EtcdKv({ endpoints: [server.endpoint], timeout: 3000 });
  const kv = connect();
  const store = new EtcdStore(connect(), { prefix: PREFIX, answerTime: 600, leaseTtl }, SILENT);
  t.after(() => {
    store.close();
    kv.close();
  });
  await store.network.write(LEASES);
  await store.membership.join(facts(1), {});
  return { store, kv };
}

const closed = ({ tiers }: PolicyView): string[] =>
  tiers.flatMap(({ policies }) => policies.flatMap((each) => (each.isUnreadable ? [policyText(each)] : [])));

test('hostile values are named, and close what they are about', async (t) => {
  const server = await startEmbedded();
  t.after(() => server.stop());
  const { store, kv } = await open(t, server);
  const { policies, pods, policyObjects } = portsOf(store);
  const seen = policyViews(t, policies);
  await policyObjects.apply(isolated);
  keeping(t, pods, 'node1', { value: { pods: [pod('node1', 'web', '10.5.1.2')], areAll: true } });
  await policyViewThat(seen, (view) => view.pods.size === 1 && view.tiers.length === 1);

  const spec = { podSelector: {}, ingress: 'all' };
  const written = { ...isolated, metadata: { ...isolated.metadata, name: 'bad' }, spec };
  for (const [key, value] of [
    [`${OBJECTS}NetworkPolicy/shop/bad`, JSON.stringify(written)],
    [`${OBJECTS}NetworkPolicy/shop/other`, JSON.stringify(isolated)],
    [`${OBJECTS}GlobalNetworkPolicy/deep`, '['.repeat(20_000) + ']'.repeat(20_000)],
    [`${OBJECTS}Tier/none`, ''],
    [`${OBJECTS}Namespace/dark`, 'null'],
    [`${OBJECTS}GlobalNetworkSet/office`, '7'],
    [`${OBJECTS}Pod/shop/x`, '{}'],
    [`${KEYS.root}pods/node2/shop/far`, '{"addresses":["10.5.2.2/24"]}'],
    [KEYS.pod('node2', 'dark', 'x'), '{"addresses":["10.5.2.3"]}'],
    [KEYS.pod('node2', '__proto__', '../x'), '{"addresses":["10.5.2.4"],"labels":{"__proto__":"1"}}'],
    [`${KEYS.root}pods//x`, '{}'],
  ] as const)
    await kv.put(key, value);
  const view = await policyViewThat(
    seen,
    (each) => closed(each).length === 3 && each.pods.has('__proto__/../x') && policies.problems.length >= 4,
  );
  assert.deepEqual(closed(view).sort(), [
    'GlobalNetworkPolicy deep',
    'NetworkPolicy shop/bad',
    'NetworkPolicy shop/other',
  ]);
  assert.deepEqual([...view.pods.keys()].sort(), ['__proto__/../x', 'shop/web']);
  const problems = view.problems.map(({ policy, problem }) => `${policyText(policy)}: ${problem}`).sort();
  for (const [i, expected] of [
    /^GlobalNetworkPolicy deep: is nested more than/,
    /^GlobalNetworkSet office: object: must be an object/,
    /^NetworkPolicy shop\/bad: spec\.ingress: must be a list/,
    /^NetworkPolicy shop\/other: says it is NetworkPolicy shop\/web/,
    /^Tier none: /,
  ].entries())
    assert.match(problems[i] ?? '', expected);
  const ignored = policies.problems.map(problemText);
  assert.equal(ignored.length, 4, ignored.join('\n'));
  assert.match(ignored.join('\n'), /pods\/node2\/shop\/far is ignored: addresses\[0\].*the pod is closed/);
  assert.match(ignored.join('\n'), /Namespace\/dark is ignored: .*its pods are closed/);

  const warnings: string[] = [];
  const listed = await policyObjects.list((problem) => void warnings.push(problem));
  // Of `bad`, only the spec is unusable, which can be printed and corrected.
  assert.deepEqual(listed.map(({ metadata: { name } }) => name).sort(), ['bad', 'web']);
  assert.equal(warnings.length, 6, warnings.join('\n'));

  const dark = { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'dark', labels: { team: 'a' } } };
  await kv.put(`${OBJECTS}Namespace/dark`, JSON.stringify(dark));
  await policyViewThat(seen, (each) => each.pods.get('dark/x')?.namespaceLabels.team === 'a');
  await kv.put(`${OBJECTS}Namespace/dark`, '{}');
  await policyViewThat(seen, (each) => !each.pods.has('dark/x'));

  // What is corrected is as if it had never been.
  for (const { key } of (await kv.list(KEYS.root)).items) if (!key.includes('web')) await kv.delete(key);
  await policyViewThat(seen, (each) => closed(each).length === 0 && each.problems.length === 0);
  await eventually(() => policies.problems.length === 0);
});

test('whoever changes a node’s keys, they say again what its agent says', async (t) => {
  const server = await startEmbedded();
  t.after(() => server.stop());
  const { store, kv } = await open(t, server, 3);
  const { pods, policies } = portsOf(store);
  const seen = policyViews(t, policies);
  const web = pod('node1', 'web', '10.5.1.2', { app: 'web' });
  keeping(t, pods, 'node1', { value: { pods: [web], areAll: true } });
  const first = await policyViewThat(seen, (view) => view.pods.size === 1);
  const key = KEYS.pod('node1', 'shop', 'web');
  const isRight = async (): Promise<boolean> => {
    const { items } = await kv.list(KEYS.pods('node1'));
    return items.length === 1 && items[0]?.key === key && /"app":"web"/.test(items[0].value);
  };
  await kv.put(key, '{"labels":{"app":"client"},"addresses":["10.5.1.2"]}');
  await eventually(isRight);
  await kv.delete(key);
  await eventually(isRight);
  await kv.put(KEYS.pod('node1', 'shop', 'spy'), '{"addresses":["10.5.1.9"]}');
  await eventually(isRight);
  // The lease outlives its time, and is taken again when it ends.
  const lease = (await kv.get(key))?.lease ?? '0';
  assert.notEqual(lease, '0');
  await sleep(4000);
  assert.ok(await isRight());
  assert.equal((await kv.get(key))?.lease, lease);
  await kv.revoke(lease);
  await eventually(isRight);
  await policyViewThat(seen, (view) => view.pods.size === 1);
  const [before, after] = [first, seen.at(-1)].map((view) => ({ ...view?.pods.get('shop/web'), since: '' }));
  assert.deepEqual(after, before);
});

test('an export names the policies that it leaves out', async (t) => {
  const server = await startEmbedded();
  t.after(() => server.stop());
  const { store } = await open(t, server);
  assert.doesNotMatch((await exportStore(store)).leftOut.join('\n'), /policies/);
  await portsOf(store).policyObjects.apply(isolated);
  assert.match((await exportStore(store)).leftOut.join('\n'), /policies.*\(1\): flatnet policy list -o yaml/);
});

test('a store that was away, or has lost its data, changes nothing', async (t) => {
  const server = await startEmbeddedProcess();
  t.after(() => server.stop());
  const { store } = await open(t, server);
  const { policies, pods, policyObjects } = portsOf(store);
  await policyObjects.apply(isolated);
  keeping(t, pods, 'node1', { value: { pods: [pod('node1', 'web', '10.5.1.2')], areAll: true } });
  const seen = policyViews(t, policies);
  await policyViewThat(seen, (view) => view.pods.size === 1 && view.tiers.length === 1);
  const { length } = seen;
  await server.kill('SIGKILL');
  await eventually(() => policies.problems.length > 0);
  await server.restart();
  await eventually(() => policies.problems.length === 0);
  assert.equal(seen.length, length);

  await server.kill('SIGKILL');
  for (const suffix of ['', '-wal', '-shm'])
    rmSync(`${dirname(server.endpoint.slice(5))}/store.db${suffix}`, { force: true });
  await server.restart();
  await eventually(() => policies.problems.some((problem) => /lost its data/.test(problemText(problem))));
  assert.deepEqual(seen.at(-1)?.tiers.length, 1);
});

test('keys that are deleted with the network’s configuration are a loss, too, and nothing ends', async (t) => {
  const server = await startEmbedded();
  t.after(() => server.stop());
  const { store, kv } = await open(t, server);
  const { policies, pods, policyObjects } = portsOf(store);
  await policyObjects.apply(isolated);
  keeping(t, pods, 'node1', { value: { pods: [pod('node1', 'web', '10.5.1.2')], areAll: true } });
  const seen = policyViews(t, policies);
  await policyViewThat(seen, (view) => view.pods.size === 1 && view.tiers.length === 1);
  const { items } = await kv.list(`${PREFIX}/`);
  // As with `etcdctl del --prefix`.
  for (const { key } of items) await kv.delete(key);
  await eventually(() => policies.problems.some((problem) => /lost its data/.test(problemText(problem))));
  assert.equal(seen.at(-1)?.tiers.length, 1);
  await policyObjects.apply({ ...isolated, metadata: { ...isolated.metadata, name: 'other' } });
  await store.network.write(LEASES);
  const after = await policyViewThat(seen, ({ tiers }) => tiers[0]?.policies[0]?.name === 'other');
  assert.equal(after.tiers[0]?.policies.length, 1);
  await eventually(() => policies.problems.length === 0);
});

test('a pod that has gone is not told of any more, although the agent does not know them all', async (t) => {
  const server = await startEmbedded();
  t.after(() => server.stop());
  const { store, kv } = await open(t, server);
  const { pods } = portsOf(store);
  const names = async (): Promise<readonly string[]> =>
    (await kv.list(KEYS.pods('node1'))).items.map(({ key }) => key.split('/').at(-1) ?? '');
  await kv.put(KEYS.pod('node1', 'shop', 'unread'), '{"addresses":["10.5.1.9"]}');
  const [web, db] = [pod('node1', 'web', '10.5.1.2'), pod('node1', 'db', '10.5.1.3')];
  const told = { value: { pods: [web, db], areAll: false } };
  const { changed } = keeping(t, pods, 'node1', told);
  await eventually(async () => (await names()).join() === 'db,unread,web');
  told.value = { pods: [db], areAll: false };
  changed();
  await eventually(async () => (await names()).join() === 'db,unread');
  // Whoever has the address of one that cannot be read is in its place.
  told.value = { pods: [db, pod('node1', 'new', '10.5.1.9')], areAll: false };
  changed();
  await eventually(async () => (await names()).join() === 'db,new');
});

test('of two pods that are said to have one address, the one that was told of last has it', async (t) => {
  const server = await startEmbedded();
  t.after(() => server.stop());
  const { store } = await open(t, server);
  const { pods, policies } = portsOf(store);
  const seen = policyViews(t, policies);
  const holder = async (node: string): Promise<string | undefined> => {
    const key = `shop/on-${node}`;
    const told = { value: { pods: [pod(node, `on-${node}`, '10.5.1.2')], areAll: true } };
    keeping(t, pods, node, told);
    const view = await policyViewThat(seen, (each) => each.pods.has(key));
    return new Holders().settle([...view.pods.values()]).find(({ addresses }) => addresses.length > 0)?.name;
  };
  for (const node of ['node2', 'node3', 'node1']) assert.equal(await holder(node), `on-${node}`);
});

test('pods that were not kept for a while, as policies were switched off, do not end when they are again', async (t) => {
  const server = await startEmbedded();
  t.after(() => server.stop());
  const { store, kv } = await open(t, server, 3);
  const { pods } = portsOf(store);
  const told = { value: { pods: [pod('node1', 'web', '10.5.1.2')], areAll: true } };
  const key = KEYS.pod('node1', 'shop', 'web');
  const before = keeping(t, pods, 'node1', told);
  const made = await eventually(async () => (await kv.get(key))?.createRevision);
  before.end();
  await sleep(2500);
  keeping(t, pods, 'node1', told);
  await sleep(2000);
  assert.equal((await kv.get(key))?.createRevision, made);
});
