import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { API_VERSION, type Document } from '../../../src/cluster/calico/document.ts';
import { parseCidr } from '../../../src/ip/cidr.ts';
import { newBlock, take } from '../../../src/ipam/blocks/block.ts';
import { encodeBlock } from '../../../src/store/etcd/block-codec.ts';
import { BlockKeys } from '../../../src/store/etcd/block-keys.ts';
import type { Block } from '../../../src/store/ports/blocks.ts';
import type { ResourceStore } from '../../../src/store/ports/resources.ts';
import { readView, writeView } from '../../../src/store/view-file.ts';
import { eventually, startEmbedded } from '../servers.ts';
import { lastView, PREFIX, self, TestCluster } from './cluster.ts';

const BLOCKS = {
  Network: '10.5.0.0/16',
  EnableIPv6: true,
  IPv6Network: 'fd00:5::/64',
  addresses: 'blocks',
  wiring: 'routed',
  Backend: { Type: 'bgp', ipipMode: 'CrossSubnet' },
};

async function start(t: TestContext): Promise<{ cluster: TestCluster; resources: ResourceStore }> {
  const server = await startEmbedded();
  t.after(() => server.stop());
  const cluster = new TestCluster(t, server.endpoint);
  return { cluster, resources: cluster.store().resources };
}

const pool = (name: string, cidr: string, spec: object = {}, metadata: object = {}): Document => ({
  apiVersion: API_VERSION,
  kind: 'IPPool',
  metadata: { name, ...metadata },
  spec: { cidr, ...spec },
});

test('resources are applied, changed, read, listed and deleted by compare-and-swap', async (t) => {
  const { cluster, resources } = await start(t);
  assert.equal(await resources.apply(pool('a', '10.0.0.0/16')), 'created');
  assert.equal(await resources.apply(pool('a', '10.0.0.0/16')), 'unchanged');
  const first = await resources.get('IPPool', 'a');
  assert.equal(await resources.apply(first.document), 'unchanged', 'its own text');
  assert.equal(await resources.apply(pool('a', '10.0.0.0/16', { disabled: true })), 'configured');
  assert.deepEqual((await resources.get('IPPool', 'a')).document.spec, {
    cidr: '10.0.0.0/16',
    disabled: true,
  });
  const stale = { ...first.document, spec: { cidr: '10.0.0.0/16', natOutgoing: true } };
  await assert.rejects(resources.apply(stale), {
    code: 'STORE_CONFLICT',
    message: /it is at resourceVersion \d+, not \d+; get it again/,
  });
  await assert.rejects(resources.apply(pool('a', '10.1.0.0/16')), {
    code: 'CONFIG_INVALID',
    message: /spec\.cidr can't change/,
  });
  await assert.rejects(resources.apply(pool('b', '10.0.1.0/24')), {
    code: 'CONFIG_INVALID',
    message: /overlaps/,
  });

  await cluster.kv.put(`${PREFIX}/flatnet/resources/IPPool/bad`, '{');
  await cluster.kv.put(
    `${PREFIX}/flatnet/resources/BGPPeer/p`,
    JSON.stringify({
      apiVersion: API_VERSION,
      kind: 'BGPPeer',
      metadata: { name: 'p' },
      spec: { peerSelector: 'all()' },
    }),
  );
  const warnings: string[] = [];
  const names = async (...kind: Parameters<ResourceStore['list']>[0][]) =>
    (await resources.list(kind[0], (text) => warnings.push(text))).map(
      ({ document }) => document.metadata.name,
    );
  assert.deepEqual(await names('IPPool'), ['a']);
  assert.deepEqual(await names(), ['p', 'a']);
  assert.match(warnings[0] ?? '', /IPPool\/bad is ignored/);
  assert.equal(await resources.apply(pool('bad', '10.9.0.0/16')), 'configured', 'an invalid one is replaced');

  await resources.delete('IPPool', 'a');
  await assert.rejects(resources.delete('IPPool', 'a'), { code: 'NOT_FOUND', object: 'IPPool/a' });
  await assert.rejects(resources.get('IPPool', 'a'), { code: 'NOT_FOUND' });
  assert.equal(
    await resources.apply(first.document),
    'created',
    'the version of a deleted resource does not matter',
  );
});

test('of overlapping pools created at once, one is created', async (t) => {
  const { resources } = await start(t);
  for (let round = 0; round < 5; round++) {
    const made = await Promise.allSettled(
      Array.from({ length: 6 }, (_, i) =>
        resources.apply(pool(`p${round}-${i}`, `10.${round}.0.0/${16 + i}`)),
      ),
    );
    assert.deepEqual(made.filter(({ status }) => status === 'fulfilled').length, 1);
    for (const each of made) if (each.status === 'rejected') assert.equal(each.reason.code, 'CONFIG_INVALID');
  }
});

test('a pool in use is deleted only by force', async (t) => {
  const { cluster, resources } = await start(t);
  const keys = new BlockKeys(PREFIX);
  const put = (block: Block) => cluster.kv.put(keys.block(block.cidr), encodeBlock(block));
  const empty = newBlock(parseCidr('10.0.0.64/26'), 'node1', 1);
  await resources.apply(pool('a', '10.0.0.0/16'));
  await put(newBlock(parseCidr('10.1.0.0/26'), 'node1', 1));
  await resources.delete('IPPool', 'a');

  await resources.apply(pool('a', '10.0.0.0/16'));
  await put(empty);
  await assert.rejects(resources.delete('IPPool', 'a'), {
    code: 'IN_USE',
    message: /disabled: true on it first/,
  });
  await resources.apply(pool('a', '10.0.0.0/16', { disabled: true }));
  await put(take(empty, 3, { handle: 'k8s-pod-network.1.eth0', node: 'node1' }, 2));
  await assert.rejects(resources.delete('IPPool', 'a'), { code: 'IN_USE', message: /1 pod has an address/ });
  await put(take(empty, 3, { handle: 'ipip-tunnel-addr-node1', node: 'node1' }, 2));
  await resources.delete('IPPool', 'a');

  await resources.apply(pool('a', '10.0.0.0/16'));
  await resources.delete('IPPool', 'a', true);
});

test('under the blocks plan a node claims no subnet; the first one creates the default pools, once', async (t) => {
  const { cluster, resources } = await start(t);
  await cluster.configure(BLOCKS);
  const bgp = { backend: { type: 'bgp', data: {} } };
  const claims = await Promise.all([1, 2, 3].map((i) => cluster.join(self(i, { ...bgp, dual: true }))));
  assert.deepEqual(
    claims.map(({ subnets }) => subnets),
    [[], [], []],
  );
  assert.deepEqual(await cluster.keys(), [
    'config',
    'flatnet/nodes/node1',
    'flatnet/nodes/node2',
    'flatnet/nodes/node3',
    'flatnet/pools',
    'flatnet/resources/IPPool/default-ipv4-ippool',
    'flatnet/resources/IPPool/default-ipv6-ippool',
  ]);
  const ipam = new BlockKeys(PREFIX);
  await cluster.kv.put(ipam.affinity('node2', parseCidr('10.5.0.64/26')), 'confirmed');
  const views = cluster.views();
  const view = await lastView(views, ({ nodes }) => nodes[1]?.subnets.length === 1);
  assert.deepEqual(
    view.nodes.map(({ name, subnets, backend }) => [name, subnets, backend.type]),
    [
      ['node1', [], 'bgp'],
      ['node2', ['10.5.0.64/26'], 'bgp'],
      ['node3', [], 'bgp'],
    ],
  );
  assert.deepEqual(view.nodes[0]?.addresses, { 4: '192.0.2.1', 6: '2001:db8::1' });
  assert.deepEqual(
    view.resources.ipPools.map(({ cidr, blockSize, ipipMode }) => [cidr, blockSize, ipipMode]),
    [
      ['10.5.0.0/16', 26, 'CrossSubnet'],
      ['fd00:5::/64', 122, 'Never'],
    ],
  );

  await claims[0]?.publish({ ...self(1, { ...bgp, dual: true }), labels: { rack: 'a' } });
  await lastView(views, ({ nodes }) => nodes[0]?.labels.rack === 'a');
  await cluster.kv.delete(`${PREFIX}/flatnet/nodes/node3`);
  await eventually(() => cluster.kv.get(`${PREFIX}/flatnet/nodes/node3`));
  await lastView(views, ({ nodes }) => nodes.length === 3);
  await resources.delete('IPPool', 'default-ipv6-ippool');
  await resources.apply(pool('default-ipv4-ippool', '10.5.0.0/16', { disabled: true }));
  await resources.delete('IPPool', 'default-ipv4-ippool');
  await cluster.join(self(4, bgp));
  await lastView(views, ({ nodes, resources: { ipPools } }) => nodes.length === 4 && ipPools.length === 0);
  await claims[2]?.release();
  await lastView(views, ({ nodes }) => nodes.length === 3);
});

test('a pool that contains a node address is rejected', async (t) => {
  const { cluster, resources } = await start(t);
  await cluster.configure(BLOCKS);
  await cluster.join(self(1, { dual: true }));
  await cluster.kv.put(`${PREFIX}/flatnet/nodes/broken`, '{');
  await assert.rejects(resources.apply(pool('mine', '192.0.2.0/24')), {
    code: 'CONFIG_INVALID',
    message: /192\.0\.2\.0\/24 holds 192\.0\.2\.1, the address of node node1;/,
  });
  assert.equal(await resources.apply(pool('mine', '192.0.2.128/25')), 'created');
});

test('existing pools are left unchanged', async (t) => {
  const { cluster, resources } = await start(t);
  await cluster.configure(BLOCKS);
  await resources.apply(pool('mine', '10.77.0.0/16'));
  await cluster.join(self(1));
  assert.deepEqual(
    (await resources.list('IPPool', () => {})).map(({ document }) => document.metadata.name),
    ['mine'],
  );
});

test('a node that changes from a lease to blocks releases its lease', async (t) => {
  const { cluster } = await start(t);
  await cluster.configure({ Network: '10.5.0.0/16', wiring: 'routed', Backend: { Type: 'bgp' } });
  const old = await cluster.join(self(1));
  assert.equal(old.subnets.length, 1);
  old.stop();
  await cluster.configure(BLOCKS);
  const claim = await cluster.join(self(1));
  assert.deepEqual(claim.subnets, []);
  assert.deepEqual(
    (await cluster.keys()).filter((key) => key.startsWith('subnets/')),
    [],
  );
});

test('the saved view includes the resources', async (t) => {
  const { cluster, resources } = await start(t);
  await cluster.configure(BLOCKS);
  await resources.apply(pool('mine', '10.77.0.0/16', { nodeSelector: 'has(x)' }));
  await cluster.join(self(1));
  const view = await lastView(cluster.views(), ({ nodes }) => nodes.length === 1);
  const folder = mkdtempSync(join(tmpdir(), `flatnet-view-${process.pid}-`));
  t.after(() => rmSync(folder, { recursive: true }));
  const saved = { ...view, formers: new Map() };
  await writeView(join(folder, 'view.json'), saved);
  assert.deepEqual(await readView(join(folder, 'view.json')), saved);
});
