import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { FlatnetError } from '../../../src/error.ts';
import { parseIp } from '../../../src/ip/address.ts';
import { addressOf, type Cidr, cidrOf } from '../../../src/ip/cidr.ts';
import { SILENT } from '../../../src/log.ts';
import { subnetsOf } from '../../../src/store/etcd/layout.ts';
import { EtcdStore } from '../../../src/store/etcd/store.ts';
import { EtcdKv } from '../../../src/store/kv/client.ts';
import type { Transaction, TransactionResult } from '../../../src/store/kv/kv.ts';
import type { Store } from '../../../src/store/ports/store.ts';
import { eventually, startEmbedded } from '../servers.ts';
import { overlapping, PREFIX, self, TestCluster } from './cluster.ts';

const NETWORK = { Network: '10.5.0.0/16', SubnetLen: 24 };

/** A client that interferes with its first transaction: before it is sent, or with its answer. */
class EventfulKv extends EtcdKv {
  before: (transaction: Transaction) => Promise<void> = async () => {};
  after: () => void | Promise<void> = () => {};

  override async txn(transaction: Transaction): Promise<TransactionResult> {
    const { before, after } = this;
    this.before = async () => {};
    this.after = () => {};
    await before(transaction);
    const result = await super.txn(transaction);
    await after();
    return result;
  }
}

async function start(t: TestContext): Promise<{ cluster: TestCluster; kv: EventfulKv; store: Store }> {
  const server = await startEmbedded();
  t.after(() => server.stop());
  const cluster = new TestCluster(t, server.endpoint);
  await cluster.configure(NETWORK);
  const kv = new EventfulKv({ endpoints: [server.endpoint] });
  const store = new EtcdStore(kv, { prefix: PREFIX, answerTime: 500 }, SILENT);
  t.after(() => store.close());
  return { cluster, kv, store };
}

/** The subnet a transaction is about to claim. */
function aimedAt({ success }: Transaction): Cidr {
  const key =
    success.map((operation) => operation.key).find((name) => name.includes('/subnets/')) ?? assert.fail();
  return subnetsOf(key.slice(key.lastIndexOf('/') + 1))[0] ?? assert.fail();
}

test('another node takes the subnet first: a different one is chosen', async (t) => {
  const { cluster, kv, store } = await start(t);
  let rival: readonly Cidr[] = [];
  kv.before = async (transaction) => {
    rival = (await cluster.join(self(2), { 4: aimedAt(transaction) })).subnets;
    assert.deepEqual(rival, [aimedAt(transaction)]);
  };
  const claim = await store.membership.join(self(1), {});
  assert.equal(overlapping([...rival, ...claim.subnets]), undefined);
});

test('the subnet length changes meanwhile, and another node takes a part of the subnet', async (t) => {
  const { cluster, kv, store } = await start(t);
  let rival: readonly Cidr[] = [];
  kv.before = async (transaction) => {
    await cluster.configure({ ...NETWORK, SubnetLen: 26 });
    const part = cidrOf(addressOf(aimedAt(transaction)), 26);
    rival = (await cluster.join(self(2), { 4: part })).subnets;
    assert.deepEqual(rival, [part]);
  };
  const claim = await store.membership.join(self(1), {});
  assert.match(claim.subnets[0] ?? '', /\/26$/);
  assert.equal(overlapping([...rival, ...claim.subnets]), undefined);
});

test('if the answer is lost after the lease was written, the lease stays and the next try gets it', async (t) => {
  const { cluster, kv, store } = await start(t);
  const first = await store.membership.join(self(1), {});
  first.stop();
  kv.after = () => {
    throw new FlatnetError('connection lost', { code: 'STORE_UNAVAILABLE' });
  };
  const before = await cluster.keys();
  await assert.rejects(store.membership.join(self(1), {}), { code: 'STORE_UNAVAILABLE' });
  assert.deepEqual(await cluster.keys(), before, 'the lease never disappears');
  assert.deepEqual((await store.membership.join(self(1), {})).subnets, first.subnets);
});

test('if the feed shows the write before its answer arrives, the new lease is not mistaken for the former one', async (t) => {
  const { cluster, kv, store } = await start(t);
  const former = await cluster.join(self(1));
  former.stop();
  const created = async () =>
    (await cluster.kv.list(`${PREFIX}/`)).items.map(({ key, createRevision }) => [key, createRevision]);
  const before = await created();
  const views = cluster.views(store);
  await eventually(() => views.length > 0);
  kv.after = () => sleep(200);
  const claim = await store.membership.join(self(1), {});
  await sleep(200);
  claim.stop();
  assert.deepEqual(await created(), before, 'keys were deleted and recreated');
});

test('the node’s name is taken between the challenge and the write', async (t) => {
  const { cluster, kv, store } = await start(t);
  const dead = await cluster.join(self(1));
  dead.stop();
  kv.before = async () => {
    await cluster.join(self(1, { addresses: { 4: parseIp('192.0.2.77') } }));
  };
  const moved = self(1, { addresses: { 4: parseIp('192.0.2.88') } });
  await assert.rejects(store.membership.join(moved, {}), { code: 'NAME_TAKEN', message: /192\.0\.2\.77/ });
});
