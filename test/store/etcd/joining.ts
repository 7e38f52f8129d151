import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Server } from '../servers.ts';
import { overlapping, self, TestCluster } from './cluster.ts';

/** Many nodes claiming subnets at once: races that occur only with a real server. */
export function joining(title: string, start: () => Promise<Server>, skip: string | false = false): void {
  describe(title, { skip }, () => {
    test('30 nodes that join at once get 30 subnets', async (t) => {
      const server = await start();
      t.after(() => server.stop());
      const cluster = new TestCluster(t, server.endpoint);
      // 62 subnets, one of them skipped: few enough for frequent collisions.
      await cluster.configure({ Network: '10.5.0.0/18', SubnetLen: 24 });
      const views = cluster.views();
      const claims = await Promise.all(Array.from({ length: 30 }, (_, i) => cluster.join(self(i + 1))));
      const subnets = claims.flatMap((claim) => claim.subnets);
      assert.equal(subnets.length, 30);
      assert.equal(overlapping(subnets), undefined);
      const keys = await cluster.keys();
      assert.deepEqual(keys.filter((key) => key.startsWith('subnets/')).length, 30);
      while (views.at(-1)?.nodes.length !== 30) await new Promise((resolve) => setTimeout(resolve, 20));
      assert.deepEqual(
        views
          .at(-1)
          ?.nodes.flatMap((node) => node.subnets)
          .toSorted(),
        subnets.toSorted(),
      );
    });

    test('dual stack: neither half is assigned twice', async (t) => {
      const server = await start();
      t.after(() => server.stop());
      const cluster = new TestCluster(t, server.endpoint);
      await cluster.configure({
        Network: '10.5.0.0/20',
        EnableIPv6: true,
        IPv6Network: 'fd00:5::/60',
        SubnetLen: 24,
      });
      const claims = await Promise.all(
        Array.from({ length: 14 }, (_, i) => cluster.join(self(i + 1, { dual: true }))),
      );
      const subnets = claims.flatMap((claim) => claim.subnets);
      assert.equal(subnets.length, 28);
      assert.equal(overlapping(subnets), undefined);
    });

    test('while the subnet length changes, no two nodes overlap', async (t) => {
      const server = await start();
      t.after(() => server.stop());
      const cluster = new TestCluster(t, server.endpoint);
      await cluster.configure({ Network: '10.5.0.0/20', SubnetLen: 24 });
      const joining = Array.from({ length: 20 }, (_, i) => cluster.join(self(i + 1)));
      for (const SubnetLen of [26, 25, 27, 25, 26])
        await cluster.configure({ Network: '10.5.0.0/20', SubnetLen });
      const results = await Promise.allSettled(joining);
      const subnets = results.flatMap((result) =>
        result.status === 'fulfilled' ? result.value.subnets : [],
      );
      assert.ok(subnets.length >= 10, 'hardly any node joined');
      assert.equal(overlapping(subnets), undefined);
    });
  });
}
