import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import type { Document } from '../../src/cluster/calico/document.ts';
import { networkToNetConf } from '../../src/cluster/network.ts';
import { parseCidr } from '../../src/ip/cidr.ts';
import { SILENT } from '../../src/log.ts';
import { BlockKeys } from '../../src/store/etcd/block-keys.ts';
import { EtcdStore } from '../../src/store/etcd/store.ts';
import { EtcdKv } from '../../src/store/kv/client.ts';
import { DEFAULT_IPAM_CONFIG } from '../../src/store/ports/blocks.ts';
import type { Store } from '../../src/store/ports/store.ts';
import { changesOf } from '../../src/transfer/changes.ts';
import type { Contents } from '../../src/transfer/contents.ts';
import { importStore } from '../../src/transfer/import.ts';
import { Memory, MemoryStore } from '../store/memory/store.ts';
import { facts, LEASES } from '../store/ports/facts.ts';
import { startEmbedded } from '../store/servers.ts';

const WRITE = { dryRun: false, replace: false };
const EMPTY: Contents = {
  network: JSON.parse(networkToNetConf(LEASES)) as unknown,
  nodes: [],
  resources: [],
  config: DEFAULT_IPAM_CONFIG,
  blocks: [],
  affinities: [],
};

const peer = (asNumber: number): Document => ({
  apiVersion: 'projectcalico.org/v3',
  kind: 'BGPPeer',
  metadata: { name: 'rack1' },
  spec: { peerIP: '192.0.2.1', asNumber },
});

function memoryStore(t: TestContext): MemoryStore {
  const store = new MemoryStore(new Memory());
  t.after(() => store.close());
  return store;
}

test('IPAM objects that cannot be read are named before anything is written', async (t) => {
  const server = await startEmbedded();
  t.after(() => server.stop());
  const kv = new EtcdKv({ endpoints: [server.endpoint], timeout: 3_000 });
  const store = new EtcdStore(kv, { prefix: '/test', answerTime: 600 }, SILENT);
  t.after(() => store.close());
  await kv.put(new BlockKeys('/test').block(parseCidr('10.5.0.0/26')), 'nonsense');
  for (const options of [WRITE, { dryRun: true, replace: true }]) {
    await assert.rejects(importStore(EMPTY, store, options), {
      code: 'STORE_CONFLICT',
      message: /nothing was written.*10\.5\.0\.0-26: cannot be read .*flatnet ipam check/,
    });
  }
  assert.equal(await store.network.text(), undefined);
});

/** Carries out what was found to be due, after something else has happened. */
async function afterwards(contents: Contents, store: Store, meanwhile: () => Promise<unknown>) {
  const changes = await changesOf(contents, store);
  await meanwhile();
  for (const { state, write } of changes) if (state !== 'same') await write();
}

test('a resource that somebody creates or changes meanwhile stays', async (t) => {
  const store = memoryStore(t);
  const asNumber = async (): Promise<unknown> =>
    (await store.resources.get('BGPPeer', 'rack1')).document.spec.asNumber;
  const contents = { ...EMPTY, resources: [peer(64600)] };
  const conflict = { code: 'STORE_CONFLICT' };
  await assert.rejects(
    afterwards(contents, store, () => store.resources.apply(peer(64601))),
    conflict,
  );
  assert.equal(await asNumber(), 64_601);
  await assert.rejects(
    afterwards(contents, store, () => store.resources.apply(peer(64602))),
    conflict,
  );
  assert.equal(await asNumber(), 64_602);
  await importStore(contents, store, { ...WRITE, replace: true });
  assert.equal(await asNumber(), 64_600);
});

test('a node whose subnet somebody takes meanwhile ends the import', async (t) => {
  const store = memoryStore(t);
  const backend = { type: 'vxlan' as const, data: {} };
  const node = (i: number) => ({ ...facts(i), subnets: [parseCidr('10.5.1.0/24')], backend });
  const taking = afterwards({ ...EMPTY, nodes: [node(1)] }, store, () => store.membership.place([node(2)]));
  await assert.rejects(taking, { code: 'STORE_CONFLICT', message: /node1: is taken/ });
  assert.equal(await store.network.text(), undefined, 'agents wait for the network');
});
