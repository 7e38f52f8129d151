import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import type { TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import fc from 'fast-check';
import { networkToNetConf } from '../../src/cluster/network.ts';
import { agentStatus, startAgent, stopAgent } from '../../src/lab/machine/agent.ts';
import type { Lab } from '../../src/lab/record/lab.ts';
import { problemText } from '../../src/problem.ts';
import { BgpCluster } from '../companions/bird/bgp-cluster.ts';
import { withKv } from '../store/lab.ts';
import { mutationsOf } from '../store/mutations.ts';
import { Cluster, LAYOUT, type TestNode } from './cluster.ts';
import { NETWORKS } from './networks.ts';
import { kernelDifferences, reachable, settled } from './settle.ts';
import { untilStatus } from './until-status.ts';

// What anyone may write into the store: it never ends an agent, and never costs a running pod its network.

const NETWORK = '10.200.0.0/16';
const vxlan = (options: object): string =>
  JSON.stringify({ Network: NETWORK, Backend: { Type: 'vxlan', ...options } });

const CONFIGS: readonly (readonly [value: string, reason: RegExp])[] = [
  [JSON.stringify({ Network: NETWORK, Backend: { Type: 'wireguard' } }), /Backend\.Type: unknown backend/],
  [JSON.stringify({ Network: NETWORK, Backend: { Type: 'constructor' } }), /Backend\.Type: unknown backend/],
  [JSON.stringify({ Network: NETWORK, Backend: [] }), /Backend: must be an object/],
  [vxlan({ VNI: 'abc' }), /Backend\.VNI: must be a whole number/],
  [vxlan({ VNI: 99999999 }), /Backend\.VNI: must be a whole number/],
  [vxlan({ VNI: -1 }), /Backend\.VNI: must be a whole number/],
  [vxlan({ Port: 65536 }), /Backend\.Port: must be a whole number/],
  [vxlan({ MTU: 1.5 }), /Backend\.MTU: must be a whole number/],
  [JSON.stringify({ Network: NETWORK, SubnetLen: 99 }), /SubnetLen/],
  [JSON.stringify({ Network: '10.200.0.0/33' }), /Network/],
  [`{"Network":"${NETWORK}","Network":"10.201.0.0/16"}`, /"Network" occurs twice/],
  ['', /JSON/],
  ['null', /must be an object/],
  ['[['.repeat(50_000), /JSON|nested/],
  [`{"Network":${'['.repeat(50_000)}${']'.repeat(50_000)}}`, /nested/],
  [`{"Network":"${'x'.repeat(1_400_000)}"}`, /Network/],
];

/** Puts another store behind the lab's endpoint. */
export type ChangeStore = (lab: Lab) => Promise<AsyncDisposable>;

/** A bad network/config: the last good one stays in force, also over a restart. */
export async function badConfig(changeStore: ChangeStore): Promise<void> {
  await using cluster = await Cluster.up(2, NETWORKS.vxlan);
  await using _store = await changeStore(cluster.lab);
  await settled(cluster, 60_000);
  const [node, other] = cluster.nodes.values();
  assert.ok(node && other);
  const pid = (await agentStatus(cluster.lab, node.name))?.pid;
  const good = networkToNetConf(cluster.network);
  const put = (value: string) => cluster.store((kv) => kv.put(LAYOUT.config, value));
  for (const [value, reason] of CONFIGS) {
    await put(value);
    const status = await untilStatus(cluster, node, (_, text) => reason.test(text));
    assert.equal(status.pid, pid, 'the agent lives');
    assert.equal(status.notReady, undefined);
    const line = status.problems.map(problemText)[0] ?? '';
    assert.match(
      line,
      /^\/coreos\.com\/network\/config is ignored: .*; the configuration of [\d:]{8} stays in force; /,
    );
    assert.ok(line.length < 600, `${line.length} characters`);
    assert.deepEqual(await kernelDifferences(cluster, node), []);
  }
  await put(JSON.stringify({ Network: NETWORK, Backend: { Type: 'wireguard' } }));
  await stopAgent(cluster.lab, node.name, 'kill');
  await startAgent(cluster.lab, node.name);
  await untilStatus(
    cluster,
    node,
    ({ ready }, text) => ready && /config is ignored: .*the last good/.test(text),
  );
  assert.deepEqual(await kernelDifferences(cluster, node), []);

  const fresh = await cluster.addNode(1);
  const { notReady = '' } = await untilStatus(cluster, fresh, ({ notReady }) =>
    /wireguard/.test(notReady ?? ''),
  );
  assert.match(notReady, /^the network is unknown: .*Backend\.Type: unknown backend 'wireguard'; use one of/);

  await cluster.store((kv) => kv.delete(LAYOUT.config));
  await untilStatus(cluster, other, (_, text) =>
    /^\/coreos\.com\/network\/config is missing: .*stays in force; write/.test(text),
  );
  await untilStatus(cluster, fresh, ({ notReady }) =>
    /there is no network configuration/.test(notReady ?? ''),
  );
  await put(good);
  await settled(cluster);
  assert.doesNotMatch(readFileSync(cluster.lab.paths.node(node.name).agentLog, 'utf8'), /uncaught/i);
}

/** None of it is a lawful lease: another node's takes the subnet, whoever wrote it. */
const JUNK: readonly string[] = [
  '',
  'null',
  '[]',
  '{}',
  '"text"',
  '{"__proto__":{"name":"x"},"constructor":1,"toString":null}',
  '{"PublicIP":"::::","BackendType":7,"BackendData":[{"VNI":{}}]}',
  '{"PublicIP":"198.51.100.999","BackendType":"vxlan","BackendData":{"VNI":"abc","VtepMAC":{}}}',
  '{"name":"node1","name":"node1","labels":7,"addresses":[1],"subnets":"x"}',
  '{"apiVersion":"projectcalico.org/v3","kind":"IPPool","metadata":{"name":"x"},"spec":{"cidr":[]}}',
  '{"cidr":"10.1.0.0/26","node":"x","sequence":-1,"changed":null,"allocations":[null],"released":[7]}',
  `{"a":${'['.repeat(5000)}${']'.repeat(5000)}}`,
  `"${'x'.repeat(1_400_000)}"`,
  '\u0000\uffff\ud800',
];

function anyKey(node: TestNode): fc.Arbitrary<string> {
  const { root } = LAYOUT;
  const folders = ['nodes', 'subnets', 'challenges', 'resources/IPPool', 'resources/BGPPeer', 'ipam/blocks'];
  const names = [
    'x',
    'constructor',
    '__proto__',
    '10.9.0.0-24',
    '10.9.0.0-24&fd09::-64',
    '300.1.1.1-99',
    'a/b',
  ];
  return fc.oneof(
    fc.constantFrom(LAYOUT.config, LAYOUT.lease(node.subnets ?? []), LAYOUT.node(node.name)),
    fc.constantFrom(
      `${root}flatnet/pools`,
      `${root}flatnet/ipam/config`,
      `${root}flatnet/ipam/affinities/x/y`,
    ),
    fc.constantFrom(...names.map((name) => `${root}subnets/${name}`)),
    fc
      .tuple(fc.constantFrom(...folders), fc.constantFrom(...names))
      .map((path) => `${root}flatnet/${path.join('/')}`),
  );
}

/** Any value under any key: the agents live, pods keep their network, and what is restored heals. */
export async function anyValue(t: TestContext, changeStore: ChangeStore): Promise<void> {
  await using cluster = await Cluster.up(2, NETWORKS.vxlan);
  await using _store = await changeStore(cluster.lab);
  await settled(cluster, 60_000);
  const nodes = [...cluster.nodes.values()];
  const [node] = nodes;
  assert.ok(node);
  const pids = async () =>
    Promise.all(nodes.map(async ({ name }) => (await agentStatus(cluster.lab, name))?.pid));
  const before = await pids();
  const seed = Number(process.env.FLATNET_SEED ?? Date.now() % 2 ** 31);
  t.diagnostic(`FLATNET_SEED=${seed}`);
  const writes = fc.sample(fc.tuple(anyKey(node), fc.constantFrom(...JUNK)), { seed, numRuns: 150 });
  const { items } = await cluster.store((kv) => kv.list(LAYOUT.root));
  const original = new Map(items.map(({ key, value }) => [key, value]));
  for (const [key, value] of writes) await cluster.store((kv) => kv.put(key, value));
  await reachable(cluster);
  assert.deepEqual(await pids(), before, 'the agents live');
  for (const key of new Set(writes.map(([key]) => key))) {
    const value = key === LAYOUT.config ? original.get(key) : undefined;
    // Agents write their own keys again.
    if (value !== undefined) await cluster.store((kv) => kv.put(key, value));
    else await cluster.store((kv) => kv.delete(key));
  }
  // The guard counts what came from a node while its keys were junk; what it counts is no desired state.
  for (const each of nodes) cluster.run(each, 'nft', 'flush set ip flatnet-vxlan strangers');
  await settled(cluster, 30_000);
  assert.deepEqual(await pids(), before, 'the agents live');
}

/** A peer's damaged lease: pods reach it even if nobody restores the key, and the status names it. */
export async function damagedLease(changeStore: ChangeStore): Promise<void> {
  await using cluster = await Cluster.up(2, NETWORKS['vxlan dual stack']);
  await using _store = await changeStore(cluster.lab);
  await settled(cluster, 60_000);
  const [node, peer] = cluster.nodes.values();
  assert.ok(node && peer?.subnets);
  await stopAgent(cluster.lab, peer.name, 'kill');
  const key = LAYOUT.lease(peer.subnets);
  for (const junk of ['{"PublicIP":"::::"}', '', '{}', 'x'.repeat(10_000), LAYOUT.root]) {
    await cluster.store((kv) => kv.put(key, junk));
    const { problems } = await untilStatus(cluster, node, (_, text) => text.includes(`${key} is ignored`));
    assert.match(
      problems.map(problemText).join('\n'),
      /its last good value stays in force; correct or delete it/,
    );
    await reachable(cluster);
  }
  await startAgent(cluster.lab, peer.name);
  await settled(cluster, 60_000);
}

/** Mutated values of every kind under the blocks plan: the agents live, and what is restored heals. */
export async function mutatedValues(t: TestContext, changeStore: ChangeStore): Promise<void> {
  await using cluster = await BgpCluster.up(2);
  await using _store = await changeStore(cluster.lab);
  for (const node of cluster.nodes) await cluster.addPod(node);
  await cluster.apply(
    { kind: 'BGPConfiguration', metadata: { name: 'default' }, spec: { asNumber: 64512 } },
    { kind: 'BGPFilter', metadata: { name: 'f' }, spec: { exportV4: [{ action: 'Accept' }] } },
    {
      kind: 'BGPPeer',
      metadata: { name: 'p' },
      spec: { peerIP: '172.30.0.99', asNumber: 64513, filters: ['f'], node: 'node1' },
    },
  );
  await cluster.delete('BGPPeer', 'p');
  await cluster.established(() => 1);
  await cluster.reachable(20_000);
  const pids = (): Promise<unknown[]> =>
    Promise.all(cluster.nodes.map(async (node) => (await agentStatus(cluster.lab, node))?.pid));
  const before = await pids();
  const seed = Number(process.env.FLATNET_SEED ?? Date.now() % 2 ** 31);
  t.diagnostic(`FLATNET_SEED=${seed}`);
  const { items } = await withKv(cluster.lab, (kv) => kv.list(LAYOUT.root));
  const writes = fc.sample(
    fc
      .constantFrom(...items)
      .chain(({ key, value }) =>
        mutationsOf(/^[[{]/.test(value) ? value : JSON.stringify(value)).map((text) => ({ key, text })),
      ),
    { seed, numRuns: 150 },
  );
  for (const { key, text } of writes) {
    await withKv(cluster.lab, async (kv) => {
      await kv.put(key, text);
      // What it was: damage to one is seen on its own, and some of it is lawful.
      const original = items.find((item) => item.key === key);
      await sleep(20);
      if (original) await kv.put(key, original.value);
    });
  }
  assert.deepEqual(await pids(), before, 'the agents live');
  await cluster.established(() => 1);
  await cluster.reachable(30_000);
  assert.deepEqual(await pids(), before, 'the agents live');
}
