import assert from 'node:assert/strict';
import { cpSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { liveHandles } from '../../../src/cni/records/local-pod.ts';
import type { Assigner } from '../../../src/ipam/assigner.ts';
import { BlockAssigner } from '../../../src/ipam/blocks/block-assigner.ts';
import { checkIpam } from '../../../src/ipam/blocks/check.ts';
import { EtcdBlocks } from '../../../src/store/etcd/blocks.ts';
import { EtcdKv } from '../../../src/store/kv/client.ts';
import { pool } from '../../ipam/blocks/plan.ts';
import { type ServerProcess, startEmbeddedProcess } from '../../store/servers.ts';
import { type CallOptions, call, eventually, Host, ip, ipOne, leftovers, must, Pod, pings } from '../host.ts';

const PREFIX = '/test';
const POOLS = [
  pool('four', '10.90.0.0/24', 28),
  pool('six', 'fd00:90::/116', 124),
  pool('other', '10.91.0.0/24', 28, { assignmentMode: 'Manual' }),
];
const named = (pod: string): Pick<CallOptions, 'env' | 'id'> => ({
  id: pod,
  env: { CNI_ARGS: `IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=${pod}` },
});
const annotated = (annotations: Record<string, string>): object => ({
  runtimeConfig: { 'io.kubernetes.cri.pod-annotations': annotations },
});

type Cluster = {
  readonly server: ServerProcess;
  /** Node1's. */
  readonly assigner: BlockAssigner;
  readonly assignerOf: (node: string, ipPools: typeof POOLS) => BlockAssigner;
  readonly findings: () => Promise<readonly unknown[]>;
  /** Creates a node whose pods get addresses from blocks. */
  readonly host: (again?: Host, from?: Assigner) => Host;
};

/** A separate store; its keys must be consistent at the end. */
async function cluster(t: TestContext): Promise<Cluster> {
  const server = await startEmbeddedProcess();
  const kv = new EtcdKv({ endpoints: [server.endpoint] });
  const store = new EtcdBlocks(kv, PREFIX);
  const findings = async () => (await checkIpam(store, { pools: POOLS })).findings;
  t.after(async () => {
    kv.close();
    await server.stop();
  });
  const assignerOf = (node: string, ipPools: typeof POOLS) =>
    new BlockAssigner({
      store,
      node,
      nodeLabels: () => ({}),
      resources: () => ({ ipPools, ipReservations: [] }),
    });
  const assigner = assignerOf('node1', POOLS);
  const host = (again?: Host, from: Assigner = assigner): Host =>
    new Host({
      wiring: 'routed',
      subnets: [],
      networks: ['10.90.0.0/15', 'fd00:90::/116'],
      context: { assigner: from },
      ...(again && { dir: again.dir, netns: again.netns }),
    });
  return { server, assigner, assignerOf, findings, host };
}

const addressesOf = ({ ips }: { ips: readonly { readonly address: string }[] }): string[] =>
  ips.map(({ address }) => address);

test('a pod has addresses from its node’s blocks until its DEL', async (t) => {
  const { assigner, findings, host: start } = await cluster(t);
  await using host = start();
  using pod = new Pod();
  const result = await must(host, 'ADD', { pod, ...named('a') });
  const held = await assigner.held('k8s-pod-network.a.eth0');
  assert.deepEqual(
    addressesOf(result),
    held.map(({ ip }) => (ip.includes(':') ? `${ip}/128` : `${ip}/32`)),
  );
  for (const { ip, pool } of held) {
    assert.ok(pings(host.netns, ip), ip);
    assert.ok(['four', 'six'].includes(pool));
  }
  assert.deepEqual(liveHandles(host.stateDir), ['k8s-pod-network.a.eth0']);
  const prevResult = { cniVersion: '1.1.0', ...result };
  assert.equal((await call(host, 'CHECK', { pod, ...named('a'), conf: { prevResult } })).exit, 0);
  assert.equal((await call(host, 'STATUS')).exit, 0);
  await must(host, 'DEL', { pod, id: 'a' });
  await must(host, 'DEL', { pod, id: 'a' });
  assert.deepEqual(await assigner.held('k8s-pod-network.a.eth0'), []);
  await eventually('nothing is left', () => leftovers(host).length === 0);
  assert.deepEqual([await findings(), host.warnings], [[], []]);
});

test('annotations choose addresses and pools', async (t) => {
  const { host: start } = await cluster(t);
  await using host = start();
  using a = new Pod();
  using b = new Pod();
  const conf = annotated({ 'cni.projectcalico.org/ipAddrs': '["10.90.0.77"]' });
  assert.equal(addressesOf(await must(host, 'ADD', { pod: a, ...named('a'), conf }))[0], '10.90.0.77/32');
  const taken = await call(host, 'ADD', { pod: b, ...named('b'), conf });
  assert.match(String(taken.out?.msg), /10\.90\.0\.77/);
  assert.equal(host.pods.size, 1);
  const pools = annotated({ 'cni.projectcalico.org/ipv4pools': '["other"]' });
  const [v4 = '', v6 = ''] = addressesOf(await must(host, 'ADD', { pod: b, ...named('b'), conf: pools }));
  assert.match(v4, /^10\.91\.0\./);
  assert.match(v6, /^fd00:90::/);
});

test('a borrowed address is marked as such and has an advertised route', async (t) => {
  const { assignerOf, host: start } = await cluster(t);
  const few = [pool('four', '10.90.0.0/28', 28), pool('six', 'fd00:90::/124', 124)];
  const of = (node: string) => assignerOf(node, few);
  // Another node claims the only blocks.
  await of('node2').assign({ handle: 'theirs', families: [4, 6], attributes: {} });
  await using host = start(undefined, of('node1'));
  using pod = new Pod();
  const result = await must(host, 'ADD', { pod, ...named('a') });
  const addresses = addressesOf(result).map((address) => address.replace(/\/.*/, ''));
  const [known] = host.pods.values();
  assert.deepEqual([known?.addresses, known?.borrowed], [addresses, addresses]);
  const routes = [...ip(host.netns, 'route'), ...ip(host.netns, '-6', 'route')];
  for (const address of addresses) {
    assert.equal(routes.find(({ dst }) => dst === address)?.protocol, '110', address);
  }
});

test('CHECK fails if the store no longer lists the address, but tolerates an unreachable store', async (t) => {
  const { assigner, server, host: start } = await cluster(t);
  await using host = start();
  using pod = new Pod();
  const prevResult = { cniVersion: '1.1.0', ...(await must(host, 'ADD', { pod, ...named('a') })) };
  const check = () => call(host, 'CHECK', { pod, ...named('a'), conf: { prevResult } });
  await server.kill('SIGKILL');
  assert.equal((await check()).exit, 0);
  await server.restart();
  await assigner.release('k8s-pod-network.a.eth0');
  assert.match(String((await check()).out?.msg), /no longer holds 10\.90\./);
});

test('DEL succeeds while the store is unreachable, and the addresses are freed later', async (t) => {
  const { assigner, server, findings, host: start } = await cluster(t);
  await using host = start();
  using pod = new Pod();
  using other = new Pod();
  const [v4 = ''] = addressesOf(await must(host, 'ADD', { pod, ...named('a') }));
  await must(host, 'ADD', { pod: other, ...named('b') });
  await server.kill('SIGKILL');

  const begin = performance.now();
  await must(host, 'DEL', { pod, id: 'a' });
  await must(host, 'DEL', { pod, id: 'a' });
  await must(host, 'DEL', { id: 'never-seen' });
  assert.ok(performance.now() - begin < 2000, 'a DEL does not wait for the store');
  assert.ok(!pings(host.netns, v4.replace('/32', ''), 0.3), 'nothing answers at the address');
  assert.deepEqual([...host.pods.keys()], ['b eth0']);
  const refused = await call(host, 'ADD', { pod, ...named('c') });
  assert.equal(refused.out?.code, 11, JSON.stringify(refused.out));

  await server.restart();
  assert.equal((await assigner.held('k8s-pod-network.a.eth0')).length, 2, 'still held');
  // A starting agent frees them at once, a running one after a while.
  await host.stop();
  const next = start(host);
  await next.service.collectGarbage();
  assert.deepEqual(await assigner.held('k8s-pod-network.a.eth0'), []);
  assert.deepEqual(liveHandles(host.stateDir), ['k8s-pod-network.b.eth0']);
  assert.deepEqual(await findings(), []);
  await next.stop();
});

test('a running agent retries releases that did not reach the store', { timeout: 30_000 }, async (t) => {
  const { assigner, server, host: start } = await cluster(t);
  await using host = start();
  using pod = new Pod();
  await must(host, 'ADD', { pod, ...named('a') });
  await server.kill('SIGKILL');
  await must(host, 'DEL', { pod, id: 'a' });
  await server.restart();
  await eventually('the record is gone', () => liveHandles(host.stateDir).length === 0, 8000);
  assert.deepEqual(await assigner.held('k8s-pod-network.a.eth0'), []);
});

test('a container is added again before its addresses have been freed', async (t) => {
  const { assigner, server, findings, host: start } = await cluster(t);
  await using host = start();
  using pod = new Pod();
  await must(host, 'ADD', { pod, ...named('a') });
  await server.kill('SIGKILL');
  await must(host, 'DEL', { pod, id: 'a' });
  await server.restart();
  const result = await must(host, 'ADD', { pod, ...named('a') });
  await host.service.collectGarbage();
  const held = await assigner.held('k8s-pod-network.a.eth0');
  assert.deepEqual(
    addressesOf(result).map((address) => address.replace(/\/.*/, '')),
    held.map(({ ip }) => ip),
  );
  for (const { ip } of held) assert.ok(pings(host.netns, ip), ip);
  assert.deepEqual(await findings(), []);
});

test('GC frees the addresses of attachments that the runtime does not list', async (t) => {
  const { assigner, host: start } = await cluster(t);
  await using host = start();
  using a = new Pod();
  using b = new Pod();
  await must(host, 'ADD', { pod: a, ...named('a') });
  await must(host, 'ADD', { pod: b, ...named('b') });
  const valid = [{ containerID: 'b', ifname: 'eth0' }];
  await must(host, 'GC', { conf: { 'cni.dev/valid-attachments': valid } });
  assert.deepEqual(await assigner.held('k8s-pod-network.a.eth0'), []);
  assert.equal((await assigner.held('k8s-pod-network.b.eth0')).length, 2);
  assert.ok(ipOne(b.name, 'link', 'show', 'dev', 'eth0'));
});

test('as another plugin’s IPAM delegate it assigns addresses from blocks', async (t) => {
  const { assigner, host: start } = await cluster(t);
  await using host = start();
  using pod = new Pod();
  const conf = { type: 'macvlan', ipam: { type: 'flatnet', routes: [{ dst: '0.0.0.0/0' }] } };
  const result = await must(host, 'ADD', { pod, ...named('a'), conf });
  assert.deepEqual([result.ips.length, result.routes.length], [2, 1]);
  assert.equal((await assigner.held('k8s-pod-network.a.eth0')).length, 2);
  await must(host, 'DEL', { pod, id: 'a', conf });
  assert.deepEqual(await assigner.held('k8s-pod-network.a.eth0'), []);
  assert.deepEqual(leftovers(host), []);
});

test('a record that is damaged or lost is rebuilt, and its addresses are still freed by the DEL', async (t) => {
  const { assigner, findings, host: start } = await cluster(t);
  await using host = start();
  using pod = new Pod();
  const record = join(host.stateDir, 'attachments/cbr0:a:eth0:interface.json');
  for (const damage of [() => truncateSync(record, 100), () => rmSync(record)]) {
    const result = await must(host, 'ADD', { pod, ...named('a') });
    const before = JSON.parse(readFileSync(record, 'utf8'));
    damage();
    await host.service.collectGarbage();
    assert.deepEqual(JSON.parse(readFileSync(record, 'utf8')), before);
    for (const address of addressesOf(result)) assert.ok(pings(host.netns, address.split('/')[0] ?? ''));
    await must(host, 'DEL', { id: 'a' });
    assert.deepEqual(await assigner.held('k8s-pod-network.a.eth0'), []);
    await eventually('nothing is left', () => leftovers(host).length === 0);
  }
  assert.deepEqual(await findings(), []);
});

test('a rebuilt record has what the blocks hold for it, or else what the node’s routes say', async (t) => {
  const { assigner, server, host: start } = await cluster(t);
  for (const isStoreAway of [false, true]) {
    const id = isStoreAway ? 'b' : 'a';
    await using host = start();
    using pod = new Pod();
    await must(host, 'ADD', { pod, ...named(id) });
    const path = join(host.stateDir, 'attachments', `cbr0:${id}:eth0:interface.json`);
    const before = JSON.parse(readFileSync(path, 'utf8'));
    const [known] = host.pods.values();
    for (const address of ['10.90.0.99/32', 'fd00:90::99/128'])
      ip(pod.name, 'addr', 'add', address, 'dev', 'eth0');
    if (isStoreAway) await server.kill('SIGKILL');
    else for (const address of known?.addresses ?? []) ip(host.netns, 'route', 'del', address);
    truncateSync(path, 100);
    await host.service.collectGarbage();
    assert.deepEqual(JSON.parse(readFileSync(path, 'utf8')), before);
    assert.deepEqual([...host.pods.values()], [known]);
    assert.deepEqual(host.service.problems, []);
    if (!isStoreAway) await must(host, 'DEL', { pod, id });
  }
  await server.restart();
  assert.equal((await assigner.held('k8s-pod-network.b.eth0')).length, 2);
});

test('records copied from another node, of any boot, do not free its pods’ addresses', async (t) => {
  const { assignerOf, host: start } = await cluster(t);
  // Two blocks only: node1 has to borrow addresses from the block of node2.
  const few = [pool('four', '10.90.0.0/30', 31), pool('six', 'fd00:90::/126', 127)];
  const of = (node: string) => assignerOf(node, few);
  const [one, two] = [of('node1'), of('node2')];
  const probe = { handle: 'probe', families: [4, 6], attributes: {} } as const;
  await two.assign(probe);
  await two.release('probe');
  await using origin = start(undefined, one);
  const pods = ['a', 'b', 'c'].map((name) => ({ name, pod: new Pod() }));
  t.after(() => {
    for (const { pod } of pods) pod[Symbol.dispose]();
  });
  for (const { name, pod } of pods) await must(origin, 'ADD', { pod, ...named(name) });
  const held = () => Promise.all(pods.map(({ name }) => one.held(`k8s-pod-network.${name}.eth0`)));
  const before = await held();
  assert.ok(before.flat().some(({ borrowed }) => borrowed));
  await using copy = start(undefined, two);
  cpSync(origin.dir, copy.dir, { recursive: true });
  const dir = join(copy.stateDir, 'attachments');
  for (const name of readdirSync(dir).filter((each) => !each.includes(':a:'))) {
    const record = JSON.parse(readFileSync(join(dir, name), 'utf8'));
    writeFileSync(join(dir, name), JSON.stringify({ ...record, bootId: 'earlier' }));
  }
  await copy.service.collectGarbage();
  assert.deepEqual(leftovers(copy), []);
  assert.deepEqual(await held(), before);
});
