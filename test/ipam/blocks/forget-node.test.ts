import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { API_VERSION } from '../../../src/cluster/calico/document.ts';
import { readNetwork } from '../../../src/cluster/network.ts';
import { parseIp } from '../../../src/ip/address.ts';
import { forgetNode, remainsOf } from '../../../src/ipam/blocks/forget-node.ts';
import { SILENT } from '../../../src/log.ts';
import { EtcdKv } from '../../../src/store/kv/client.ts';
import { openEtcd } from '../../../src/store/open.ts';
import type { Store } from '../../../src/store/ports/store.ts';
import { PREFIX, pool, TestPlan } from './plan.ts';

const NETWORK = readNetwork({
  Network: '10.1.0.0/24',
  addresses: 'blocks',
  wiring: 'routed',
  Backend: { Type: 'bgp' },
});

function open(t: TestContext, plan: TestPlan): Store {
  const store = openEtcd({ endpoints: [plan.endpoint], prefix: PREFIX }, SILENT);
  t.after(() => store.close());
  return store;
}

test('forgetting a node frees everything it had, and its name', async (t) => {
  const plan = await TestPlan.start(t, pool('p', '10.1.0.0/24', 28));
  const store = open(t, plan);
  await store.network.write(NETWORK);
  await store.resources.apply({
    apiVersion: API_VERSION,
    kind: 'Node',
    metadata: { name: 'node1' },
    spec: {},
  });
  const { assigner } = plan.node('node1');
  await assigner.assign({ handle: 'a', families: [4], attributes: {} });
  const facts = {
    name: 'node1',
    labels: {},
    addresses: { 4: parseIp('192.0.2.1') },
    backend: { type: 'bgp', data: {} },
  };
  const claim = await store.membership.join(facts, {});
  await assert.rejects(forgetNode(store, 'node1', { answerTime: 60_000 }), {
    code: 'IN_USE',
    message: /alive/,
  });
  assert.equal((await assigner.held('a')).length, 1);
  assert.equal(await remainsOf(store, 'node1', 60_000), undefined);

  claim.stop();
  assert.deepEqual(await remainsOf(store, 'node1', 100), { blocks: 1, addresses: 1 });
  const removed = await forgetNode(store, 'node1', { answerTime: 100 });
  assert.deepEqual([removed.released.length, removed.blocks.length, removed.kept.length], [1, 1, 0]);
  assert.equal(await remainsOf(store, 'node1'), undefined);
  const kv = new EtcdKv({ endpoints: [plan.endpoint] });
  t.after(() => kv.close());
  const left = (await kv.list(`${PREFIX}/`)).items.map(({ key }) => key);
  assert.deepEqual(
    left.filter((key) => key.includes('node1')),
    [],
  );
  await assert.rejects(forgetNode(store, 'node1'), { code: 'NOT_FOUND' });
  await store.membership.join({ ...facts, addresses: { 4: parseIp('192.0.2.9') } }, {});
});

test('force forgets a live node; a node without a record is not challenged', async (t) => {
  const plan = await TestPlan.start(t, pool('p', '10.1.0.0/24', 28));
  const store = open(t, plan);
  await plan.node('gone').assigner.assign({ handle: 'a', families: [4], attributes: {} });
  const asked = performance.now();
  assert.equal((await forgetNode(store, 'gone', { answerTime: 600_000 })).blocks.length, 1);
  assert.ok(performance.now() - asked < 300_000);
  const kv = new EtcdKv({ endpoints: [plan.endpoint] });
  t.after(() => kv.close());
  await kv.put(`${PREFIX}/flatnet/nodes/lives`, '{}');
  await forgetNode(store, 'lives', { force: true, answerTime: 600_000 });
  assert.equal(await kv.get(`${PREFIX}/flatnet/nodes/lives`), undefined);
});
