import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BgpCluster, until } from './bgp-cluster.ts';

const DUAL = {
  Network: '10.244.0.0/16',
  EnableIPv6: true,
  IPv6Network: 'fd10::/64',
  addresses: 'blocks',
  wiring: 'routed',
  Backend: { Type: 'bgp', ipipMode: 'Never' },
};
const pool = (name: string, spec: object): object => ({ kind: 'IPPool', metadata: { name }, spec });

test('pods of blocks of one address reach each other, whichever node borrows which block', {
  timeout: 300_000,
}, async (t) => {
  await using cluster = await BgpCluster.up(3, DUAL);
  await cluster.established(() => 4, 0);
  await cluster.apply(
    pool('default-ipv4-ippool', { cidr: '10.244.0.0/16', disabled: true }),
    pool('default-ipv6-ippool', { cidr: 'fd10::/64', disabled: true }),
    pool('ones', { cidr: '10.77.0.0/28', blockSize: 32 }),
    pool('ones6', { cidr: 'fd12::/124', blockSize: 128 }),
  );
  for (const node of [...cluster.nodes, ...cluster.nodes]) await cluster.addPod(node);
  for (const { addresses } of cluster.pods) {
    assert.match(addresses.join(), /^10\.77\.0\.\d+,fd12::[0-9a-f]*$/);
  }
  await cluster.reachable(30_000);

  await t.test('no node announces an address without a pod, so that another may use it', async () => {
    const [first] = cluster.pods;
    assert.ok(first);
    await cluster.deletePod(first);
    await until(30_000, () =>
      ['node2', 'node3'].flatMap((node) =>
        first.addresses.flatMap((ip) =>
          cluster.run(node, 'ip', 'route', 'show', ip).split('\n').filter(Boolean),
        ),
      ),
    );
    // All other addresses of the pool, so that those of the first pod are used again, by another node.
    for (let i = 0; i < 11; i++) await cluster.addPod('node2');
    await cluster.reachable(30_000);
  });
});
