import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { text } from 'node:stream/consumers';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { startEmbedded } from '../store/servers.ts';

const FLATNET = resolve(import.meta.dirname, '../../bin/flatnet');

type Result = { readonly status: number; readonly stdout: string; readonly stderr: string };
type Run = (words: readonly string[], input?: string, wait?: number) => Promise<Result>;

/** Starts a separate store; returns a function that runs flatnet against it. */
async function start(t: TestContext): Promise<Run> {
  const server = await startEmbedded();
  t.after(() => server.stop());
  return async (words, input = '', wait = 0) => {
    const child = spawn(FLATNET, [...words, '--endpoint', server.endpoint], { timeout: 30_000 });
    const output = Promise.all([text(child.stdout), text(child.stderr), once(child, 'exit')]);
    if (wait) await sleep(wait);
    child.stdin.end(input);
    const [stdout, stderr, [status]] = await output;
    return { status, stdout, stderr };
  };
}

const POOL = `apiVersion: projectcalico.org/v3
kind: IPPool
metadata:
  name: main
spec:
  cidr: 10.0.0.0/16
  ipipMode: Always
`;
const PEER = `apiVersion: projectcalico.org/v3
kind: BGPPeer
metadata:
  name: tor
spec:
  peerIP: 192.0.2.1:1179
  asNumber: 64513
  nodeSelector: rack == 'a'
`;

test('applied resources can be shown as a table or ready to apply, and deleted', async (t) => {
  const run = await start(t);
  assert.deepEqual(await run(['apply', '-f', '-'], `${POOL}---\n${PEER}`, 300), {
    status: 0,
    stdout: 'IPPool/main created\nBGPPeer/tor created\n',
    stderr: '',
  });
  assert.equal((await run(['apply', '-f', '-'], POOL)).stdout, 'IPPool/main unchanged\n');
  assert.equal(
    (await run(['get', 'ippools'])).stdout,
    'NAME  CIDR         SELECTOR\nmain  10.0.0.0/16  all()\n',
  );
  assert.match(
    (await run(['get', 'ippools', '-o', 'wide'])).stdout,
    /NAT +IPIPMODE +BLOCKSIZE.*\n.*false +Always +26/,
  );
  assert.match((await run(['get', 'peers'])).stdout, /tor +192\.0\.2\.1:1179 +rack == 'a' +64513/);
  assert.equal((await run(['get', 'node'])).stdout, 'no Node\n');

  const yaml = await run(['get', 'ippool', 'main', '-o', 'yaml']);
  assert.equal(yaml.stdout.replace(/ {2}resourceVersion: "\d+"\n/, ''), POOL);
  const changed = yaml.stdout.replace('Always', 'CrossSubnet');
  assert.equal(
    (await run(['apply', '-f', '-', '--json'], changed)).stdout,
    `${JSON.stringify([{ object: 'IPPool/main', outcome: 'configured' }], null, 2)}\n`,
  );
  const conflict = await run(['apply', '-f', '-', '--json'], changed.replace('CrossSubnet', 'Never'));
  assert.equal(conflict.status, 1);
  assert.equal(JSON.parse(conflict.stderr).error.code, 'STORE_CONFLICT');
  const json = await run(['get', 'ippool', '-o', 'json']);
  assert.equal(JSON.parse(json.stdout).items[0].spec.ipipMode, 'CrossSubnet');
  assert.equal((await run(['apply', '-f', '-'], json.stdout)).stdout, 'IPPool/main unchanged\n');

  assert.equal((await run(['delete', 'ippool', 'main'])).stdout, 'IPPool/main deleted\n');
  assert.equal(
    (await run(['delete', '-f', '-'], `${POOL}---\n${PEER}`)).stdout,
    'IPPool/main absent\nBGPPeer/tor deleted\n',
  );
});

test('errors are one line, and nothing is written', async (t) => {
  const run = await start(t);
  const refused = async (words: readonly string[], input: string, status: number, message: RegExp) => {
    const result = await run(words, input);
    assert.deepEqual([result.status, result.stdout], [status, '']);
    assert.match(result.stderr, message);
    assert.equal(result.stderr.trimEnd().split('\n').length, 1, result.stderr);
  };
  const vxlan = POOL.replace('ipipMode', 'vxlanMode');
  await refused(
    ['apply', '-f', '-'],
    `${PEER}---\n${vxlan}`,
    2,
    /standard input document 2: IPPool\/main spec\.vxlanMode: "Always" is not supported/,
  );
  assert.equal((await run(['get', 'peers'])).stdout, 'no BGPPeer\n');
  const overlapping = POOL.replace('main', 'other').replace('/16', '/20');
  await refused(
    ['apply', '-f', '-'],
    `${POOL}---\n${overlapping}`,
    2,
    /IPPool\/other: 10\.0\.0\.0\/20 overlaps 10\.0\.0\.0\/16 of IPPool\/main/,
  );
  assert.equal((await run(['get', 'pools'])).stdout, 'no IPPool\n');
  await refused(['apply', '-f', '/nonexistent.yaml'], '', 2, /nonexistent\.yaml/);
  await refused(['get', 'pods'], '', 2, /unknown kind 'pods'; use one of ippool/);
  await refused(['get', 'peer', 'none'], '', 1, /BGPPeer\/none: there is no such resource/);
  await refused(['delete'], '', 2, /needs a kind and a name, or -f FILE/);
  await refused(['delete', 'peer', 'none', '-f', '-'], '', 2, /needs a kind and a name/);
  await refused(['get', 'peer', '--lab', 'x'], '', 2, /--lab: conflicts with --endpoint/);
});

test('several files are applied; if one fails, the error lists what was done before', async (t) => {
  const run = await start(t);
  const folder = mkdtempSync(join(tmpdir(), 'flatnet-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const files = [POOL, PEER].map((text, i) => {
    const file = join(folder, `${i}.yaml`);
    writeFileSync(file, text);
    return ['-f', file];
  });
  assert.equal((await run(['apply', ...files.flat()])).stdout, 'IPPool/main created\nBGPPeer/tor created\n');
  const stale = PEER.replace('name: tor', 'name: tor\n  resourceVersion: "1"');
  const { status, stdout, stderr } = await run(['apply', '-f', '-'], `${POOL}---\n${stale}`);
  assert.deepEqual([status, stdout], [1, '']);
  assert.match(
    stderr,
    /^flatnet: apply BGPPeer\/tor: has changed: .*; already done: IPPool\/main unchanged\n$/,
  );
  assert.equal((await run(['delete', ...files.flat()])).stdout, 'IPPool/main deleted\nBGPPeer/tor deleted\n');
});

test('turning the mesh off without other peers gives a warning', async (t) => {
  const run = await start(t);
  const off = `apiVersion: projectcalico.org/v3
kind: BGPConfiguration
metadata:
  name: default
spec:
  nodeToNodeMeshEnabled: false
`;
  const warning = /^warning: nodeToNodeMeshEnabled is false and there is no BGPPeer: .*\n$/;
  assert.match((await run(['apply', '-f', '-'], off)).stderr, warning);
  assert.equal((await run(['apply', '-f', '-'], PEER)).stderr, '');
  assert.match((await run(['delete', 'peer', 'tor'])).stderr, warning);
  assert.equal((await run(['delete', 'bgpconfig', 'default'])).stderr, '');
});

test('a pool in a network that uses none is written with a warning', async (t) => {
  const run = await start(t);
  const before = await run(['apply', '-f', '-'], POOL);
  assert.deepEqual([before.status, before.stderr], [0, '']);
  assert.equal((await run(['config', 'apply', '-f', '-'], 'network: 10.244.0.0/16')).status, 0);
  const { status, stdout, stderr } = await run(
    ['apply', '-f', '-'],
    POOL.replace('main', 'other').replace('10.0', '10.1'),
  );
  assert.deepEqual([status, stdout], [0, 'IPPool/other created\n']);
  assert.match(stderr, /^warning: this network does not use IPPools: .*\(addresses: lease\)$/m);
  assert.equal((await run(['apply', '-f', '-'], PEER)).stderr, '');
});

const POLICIES = `apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: all}
spec:
  tier: own
  ingress: [{action: Allow}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web, namespace: shop}
spec: {podSelector: {}}
---
apiVersion: projectcalico.org/v3
kind: Tier
metadata: {name: own}
spec: {order: 5}
---
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {team: a}}
`;

test('policies are applied all or none, in an order that closes nothing, listed and deleted', async (t) => {
  const run = await start(t);
  const applied = await run(['apply', '-f', '-'], `${POOL}---\n${POLICIES}`);
  assert.deepEqual(applied, {
    status: 0,
    stdout: [
      'IPPool/main created',
      'Namespace shop created',
      'Tier own created',
      'NetworkPolicy shop/web created',
      'GlobalNetworkPolicy all created\n',
    ].join('\n'),
    stderr: '',
  });
  assert.equal(
    (await run(['policy', 'list'])).stdout,
    `KIND                 NAMESPACE  NAME
Namespace                       shop
Tier                            own
NetworkPolicy        shop       web
GlobalNetworkPolicy             all
`,
  );
  const yaml = (await run(['policy', 'list', '-o', 'yaml'])).stdout;
  assert.match((await run(['apply', '-f', '-'], yaml)).stdout, /^(.* unchanged\n){4}$/);

  // All that a node could not read is refused, with the place in the file; the Tier may be in the store.
  const bad = POLICIES.replace('podSelector: {}', 'podSelector: 1').replace('order: 5', 'order: 6');
  const refused = await run(['apply', '-f', '-'], bad);
  assert.equal(refused.status, 2, refused.stderr);
  assert.match(
    refused.stderr,
    /standard input document 2: NetworkPolicy shop\/web: spec\.podSelector: must be/,
  );
  assert.match((await run(['policy', 'list', '-o', 'yaml'])).stdout, /order: 5/);
  for (const [text, message] of [
    [POLICIES.replace('tier: own', 'tier: other'), /the Tier other is not there; add it/],
    [
      POLICIES.replace('networking.k8s.io/v1', 'v1'),
      /apiVersion: of NetworkPolicy must be networking\.k8s\.io\/v1 or/,
    ],
    [
      POLICIES.replace('namespace: shop', 'namespace: Shop'),
      /metadata\.namespace: must be lower-case letters/,
    ],
    [POLICIES.replace('{team: a}', '{team: 1}'), /metadata\.labels\.team: must be a string/],
    [
      POLICIES.replace('action: Allow', 'action: Deny, source: {serviceAccounts: {names: [a]}}'),
      /spec\.ingress\[0\]\.source\.serviceAccounts: nobody/,
    ],
    [`${POLICIES}---\n${POLICIES}`, /is there twice/],
  ] as const)
    assert.match((await run(['apply', '-f', '-'], text)).stderr, message);

  const tier = POLICIES.split('---\n')[2] ?? '';
  assert.match((await run(['delete', '-f', '-'], tier)).stderr, /GlobalNetworkPolicy all is in it/);
  assert.equal(
    (await run(['delete', '-f', '-'], POLICIES)).stdout,
    'GlobalNetworkPolicy all deleted\nNetworkPolicy shop/web deleted\nTier own deleted\nNamespace shop deleted\n',
  );
  assert.match((await run(['delete', '-f', '-'], POLICIES)).stdout, /^(.* absent\n){4}$/);
  assert.equal((await run(['policy', 'list'])).stdout, 'no policies\n');
});
