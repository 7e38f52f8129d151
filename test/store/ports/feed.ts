import assert from 'node:assert/strict';
import { describe, type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseCidr } from '../../../src/ip/cidr.ts';
import { newBlock } from '../../../src/ipam/blocks/block.ts';
import type { ClusterView } from '../../../src/store/ports/feed.ts';
import type { Store } from '../../../src/store/ports/store.ts';
import { eventually } from '../servers.ts';
import type { Start } from './conformance.ts';
import { BLOCKS, DUAL, facts, LEASES } from './facts.ts';

/** Collects the views until the test ends, newest last. */
export function views(t: TestContext, store: Store): ClusterView[] {
  const seen: ClusterView[] = [];
  const abort = new AbortController();
  t.after(() => abort.abort());
  void (async () => {
    for await (const view of store.feed.watch(abort.signal)) seen.push(view);
  })();
  return seen;
}

/** Waits until the newest view satisfies the condition. */
export function viewThat(
  seen: readonly ClusterView[],
  check: (view: ClusterView) => boolean,
): Promise<ClusterView> {
  return eventually(() => {
    const view = seen.at(-1);
    return view && check(view) ? view : undefined;
  });
}

export function feedConformance(start: Start): void {
  describe('feed', () => {
    test('waits for a network, then yields the whole cluster and every change of it', async (t) => {
      const { open } = await start(t);
      const store = open();
      const seen = views(t, open());
      await sleep(100);
      assert.equal(seen.length, 0);
      await store.network.write(LEASES);
      const empty = await viewThat(seen, ({ nodes }) => nodes.length === 0);
      assert.deepEqual(empty.network, LEASES);

      const claims = [];
      for (const i of [3, 1, 2]) claims.push(await open().membership.join(facts(i), {}));
      const full = await viewThat(seen, ({ nodes }) => nodes.length === 3);
      assert.deepEqual(
        full.nodes.map(({ name }) => name),
        ['node1', 'node2', 'node3'],
      );
      assert.deepEqual(full.nodes[2], { ...facts(3), subnets: claims[0]?.subnets });

      const late = views(t, open());
      const whole = await viewThat(late, () => true);
      assert.deepEqual(whole, full, 'a late watcher sees everything at once');

      const changed = facts(1, { backend: { type: 'vxlan', data: { 4: { VNI: 2 } } } });
      await claims[1]?.publish(changed);
      const after = await viewThat(seen, ({ nodes }) => nodes[0] !== full.nodes[0]);
      assert.deepEqual(after.nodes[0]?.backend, changed.backend);
      assert.equal(after.nodes[1], full.nodes[1], 'an unchanged node is the same object');
      assert.equal(after.resources, full.resources);

      await claims[1]?.release();
      await viewThat(seen, ({ nodes }) => nodes.length === 2);
      await store.network.write(DUAL);
      await viewThat(seen, ({ network }) => network.pools[6] !== undefined);
    });

    test('a node’s subnets include only blocks with a confirmed affinity', async (t) => {
      const { open } = await start(t);
      const store = open();
      await store.network.write(BLOCKS);
      await store.membership.join(facts(1, { backend: { type: 'bgp', data: {} } }), {});
      const seen = views(t, open());
      await viewThat(seen, ({ nodes, resources }) => nodes.length === 1 && resources.ipPools.length === 1);
      const cidr = parseCidr('10.5.0.64/26');
      const pending = await store.blocks.announce('node1', cidr);
      await store.blocks.createBlock(newBlock(cidr, 'node1', 1));
      await sleep(100);
      assert.deepEqual(seen.at(-1)?.nodes[0]?.subnets, []);
      const confirmed = await store.blocks.setAffinity(pending, 'confirmed');
      await viewThat(seen, ({ nodes }) => nodes[0]?.subnets[0] === cidr);
      await store.blocks.setAffinity(confirmed ?? assert.fail(), 'pending');
      await viewThat(seen, ({ nodes }) => nodes[0]?.subnets.length === 0);
    });

    test('ends when its signal aborts or the store is closed', async (t) => {
      const { open } = await start(t);
      const store = open();
      await store.network.write(LEASES);
      const abort = new AbortController();
      for await (const _ of store.feed.watch(abort.signal)) abort.abort();
      for await (const _ of store.feed.watch(new AbortController().signal)) store.close();
    });
  });
}
