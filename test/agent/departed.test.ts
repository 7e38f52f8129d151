import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { collectDeparted } from '../../src/agent/departed.ts';
import { SILENT } from '../../src/log.ts';
import type { Duties } from '../../src/store/ports/duties.ts';
import { pool, TestPlan } from '../ipam/blocks/plan.ts';
import { eventually } from '../store/servers.ts';

/**
 * Two nodes with a block each, and a collector that knows who is gone. `seen`: the nodes that are known to be
 * there.
 */
async function start(t: TestContext, grace: number, usesBlocks = () => true, seen: readonly string[] = []) {
  const plan = await TestPlan.start(t, pool('p', '10.1.0.0/24', 28));
  for (const name of ['node1', 'node2']) {
    await plan.node(name).assigner.assign({ handle: name, families: [4], attributes: {} });
  }
  const gone = new Set<string>();
  const asked: string[] = [];
  const duties: Duties = {
    share: (_node, work, signal) => work(signal),
    isGone: async (node) => {
      asked.push(node);
      return gone.has(node);
    },
  };
  const stop = new AbortController();
  const nodes = () => seen.map((name) => ({ name }));
  const options = { node: 'node1', duties, blocks: plan.store, nodes, usesBlocks, log: SILENT };
  const running = collectDeparted({ ...options, signal: stop.signal, interval: 5, grace });
  t.after(async () => {
    stop.abort();
    await running;
  });
  const owners = async () => (await plan.store.affinities()).map(({ value }) => value.node).sort();
  return { plan, gone, asked, owners };
}

/** Waits until all nodes have been asked for so many times more. */
async function rounds(asked: readonly string[], count: number): Promise<void> {
  const before = asked.length;
  await eventually(() => asked.length >= before + 2 * count);
}

test('the blocks and addresses of a node that is gone are freed, those of others stay', async (t) => {
  const { plan, gone, asked, owners } = await start(t, 50);
  await rounds(asked, 20);
  assert.deepEqual(await owners(), ['node1', 'node2']);
  gone.add('node2');
  await eventually(async () => (await owners()).length === 1);
  assert.deepEqual(await owners(), ['node1']);
  const { blocks } = await plan.store.snapshot();
  assert.deepEqual(
    blocks.map(({ value }) => value.node),
    ['node1'],
  );
});

test('a node that returns within the grace period keeps them, and its absences do not add up', async (t) => {
  const { gone, asked, owners } = await start(t, 400);
  for (let i = 0; i < 5; i++) {
    gone.add('node2');
    await rounds(asked, 10);
    gone.delete('node2');
    await rounds(asked, 2);
  }
  assert.deepEqual(await owners(), ['node1', 'node2']);
});

test('the store is not asked about nodes that are known to be there', async (t) => {
  const { asked } = await start(t, 50, undefined, ['node1']);
  await rounds(asked, 5);
  assert.deepEqual([...new Set(asked)], ['node2']);
});

test('nothing is asked for where there are no blocks, and nothing is done where nobody knows who is gone', async (t) => {
  const { asked } = await start(t, 0, () => false);
  const stop = AbortSignal.timeout(100);
  const rest = { usesBlocks: () => true, nodes: () => [], log: SILENT, signal: stop };
  const options = { node: 'node1', duties: undefined, ...rest };
  const { store } = await TestPlan.start(t, pool('p', '10.1.0.0/24', 28));
  await collectDeparted({ ...options, blocks: store, interval: 5 });
  assert.deepEqual(asked, []);
});
