import assert from 'node:assert/strict';
import { test } from 'node:test';
import { API_VERSION } from '../../../src/cluster/calico/document.ts';
import { parseIp } from '../../../src/ip/address.ts';
import { forgetNode, remainsOf } from '../../../src/ipam/blocks/forget-node.ts';
import { SILENT } from '../../../src/log.ts';
import { LeaseStore } from '../../../src/store/etcd/lease-store.ts';
import { ResourceStore } from '../../../src/store/etcd/resource-store.ts';
import { EtcdKv } from '../../../src/store/kv/client.ts';
import { PREFIX, pool, TestPlan } from './plan.ts';

const CONFIG = '{"Network":"10.1.0.0/24","addresses":"blocks","wiring":"routed","Backend":{"Type":"bgp"}}';

test('a node that left for good: all it had goes, and its name is free for another', async (t) => {
  const plan = await TestPlan.start(t, pool('p', '10.1.0.0/24', 28));
  await plan.kv.put(`${PREFIX}/config`, CONFIG);
  await new ResourceStore(plan.kv, PREFIX).apply({
    apiVersion: API_VERSION,
    kind: 'Node',
    metadata: { name: 'node1' },
    spec: {},
  });
  const { assigner } = plan.node('node1');
  await assigner.assign({ handle: 'a', families: [4], attributes: {} });
  const store = new LeaseStore(new EtcdKv({ endpoints: [plan.endpoint] }), { prefix: PREFIX }, SILENT);
  t.after(() => store.close());
  const facts = {
    name: 'node1',
    labels: {},
    addresses: { 4: parseIp('192.0.2.1') },
    backend: { type: 'bgp', data: {} },
  };
  const claim = await store.acquire(facts, {});
  await assert.rejects(forgetNode(plan.kv, PREFIX, 'node1', { answerTime: 60_000 }), {
    code: 'IN_USE',
    message: /alive/,
  });
  assert.equal((await assigner.held('a')).length, 1);
  assert.equal(await remainsOf(plan.kv, PREFIX, 'node1', 60_000), undefined);

  claim.stop();
  assert.deepEqual(await remainsOf(plan.kv, PREFIX, 'node1', 100), { blocks: 1, addresses: 1 });
  const removed = await forgetNode(plan.kv, PREFIX, 'node1', { answerTime: 100 });
  assert.deepEqual([removed.released.length, removed.blocks.length, removed.kept.length], [1, 1, 0]);
  assert.equal(await remainsOf(plan.kv, PREFIX, 'node1'), undefined);
  const left = (await plan.kv.list(`${PREFIX}/`)).items.map(({ key }) => key);
  assert.deepEqual(
    left.filter((key) => key.includes('node1')),
    [],
  );
  await assert.rejects(forgetNode(plan.kv, PREFIX, 'node1'), { code: 'NOT_FOUND' });
  await store.acquire({ ...facts, addresses: { 4: parseIp('192.0.2.9') } }, {});
});

test('by force also one whose agent lives; without a record nobody is asked', async (t) => {
  const plan = await TestPlan.start(t, pool('p', '10.1.0.0/24', 28));
  await plan.node('gone').assigner.assign({ handle: 'a', families: [4], attributes: {} });
  const asked = performance.now();
  assert.equal((await forgetNode(plan.kv, PREFIX, 'gone', { answerTime: 600_000 })).blocks.length, 1);
  assert.ok(performance.now() - asked < 300_000);
  await plan.kv.put(`${PREFIX}/flatnet/nodes/lives`, '{}');
  await forgetNode(plan.kv, PREFIX, 'lives', { force: true, answerTime: 600_000 });
  assert.equal(await plan.kv.get(`${PREFIX}/flatnet/nodes/lives`), undefined);
});
