import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { startStore, storeProcess } from '../../../src/lab/machine/store.ts';
import type { PodRecord } from '../../../src/lab/pods/record.ts';
import { killNow } from '../../../src/linux/process.ts';
import { Random } from '../../agent/random.ts';
import { BgpCluster, until } from './bgp-cluster.ts';

const ROUNDS = 3;
const PODS_A_ROUND = 48;
/** Pods a node creates at the same time. */
const AT_ONCE = 3;
/** Milliseconds. */
const LIMIT = 60_000;

describe('address blocks in a cluster', { concurrency: true }, () => {
  test('hundreds of pods come and go while agents and the store die: no address is lost', async (t) => {
    await using cluster = await BgpCluster.up(3);
    const { nodes } = cluster;
    const random = new Random(1);
    let refused = 0;
    let created = 0;
    for (let round = 0; round < ROUNDS; round++) {
      const victim = random.pick(nodes);
      const everyNode = nodes.map((node) =>
        inParallel(AT_ONCE, PODS_A_ROUND / nodes.length, async () => {
          await cluster.addPod(node).then(
            () => created++,
            () => refused++,
          );
        }),
      );
      await sleep(300 + 100 * round);
      await cluster.kill([victim], 'agent');
      // Half of them are removed while one agent is dead.
      const gone = cluster.pods.filter((_, i) => i % 2 === round % 2);
      const going = inParallel(AT_ONCE, gone.length, (i) => removed(cluster, gone[i]));
      await sleep(300);
      await cluster.start([victim]);
      await Promise.all([going, ...everyNode]);
    }
    t.diagnostic(`${created} pods created, ${refused} refused while an agent was dead`);
    // Requests to a dead agent are refused: at most those of one node in three.
    assert.ok(created >= (ROUNDS * PODS_A_ROUND) / 2 && cluster.pods.length > 0, `${created} pods created`);
    await accounted(cluster);
    await cluster.reachable();

    const store = storeProcess(cluster.lab);
    assert.ok(store);
    await killNow([store]);
    const half = cluster.pods.slice(0, cluster.pods.length / 2);
    for (const pod of half) await cluster.deletePod(pod);
    await startStore(cluster.lab);
    await accounted(cluster);
    await cluster.reachable();

    for (const pod of [...cluster.pods]) await cluster.deletePod(pod);
    await accounted(cluster);
  });

  test('a full node borrows an address, reachable from everywhere', async () => {
    await using cluster = await BgpCluster.up(3);
    const spec = { cidr: '10.244.0.0/16', blockSize: 26, ipipMode: 'Never', natOutgoing: true };
    await cluster.apply(
      { kind: 'IPPool', metadata: { name: 'default-ipv4-ippool' }, spec: { ...spec, disabled: true } },
      { kind: 'IPPool', metadata: { name: 'small' }, spec: { ...spec, cidr: '10.99.0.0/28', blockSize: 30 } },
    );
    await until(LIMIT, () =>
      cluster.nodes.filter(
        (node) => !readFileSync(cluster.birdFiles(node).config, 'utf8').includes('10.99.0.0/28'),
      ),
    );
    for (const node of ['node2', 'node3']) await cluster.addPod(node);
    // Two blocks of four addresses are left for it.
    for (let i = 0; i < 10; i++) await cluster.addPod('node1');
    const { counts, findings } = await cluster.ipam();
    assert.deepEqual([counts.addresses, counts.borrowed, findings], [12, 2, []]);
    await cluster.reachable();
    const borrowed = cluster
      .run('node1', 'ip', 'route', 'show', 'proto', '110')
      .split('\n')
      .flatMap((line) => /^(10\.99\.0\.\d+) dev cali/.exec(line)?.[1] ?? []);
    assert.equal(borrowed.length, 2);
    for (const node of ['node2', 'node3']) {
      for (const ip of borrowed) {
        const route = cluster.run(node, 'ip', 'route', 'get', ip);
        assert.match(route, /via 172\.30\.0\.11 dev eth0/, `${node} to ${ip}`);
      }
    }
    await cluster.kill(['node1'], 'agent', 'bird');
    await cluster.start(['node1']);
    await cluster.established(() => 2);
    await cluster.reachable();

    const last = cluster.pods.find(({ addresses }) => addresses.some((ip) => ip === borrowed[0]));
    assert.ok(last);
    await cluster.deletePod(last);
    await until(LIMIT, () =>
      cluster.nodes.filter((node) => cluster.run(node, 'ip', 'route', 'show', `${borrowed[0]}/32`) !== ''),
    );
    await accounted(cluster, borrowed.length - 1);
  });
});

/**
 * Waits until every assigned address is a pod's, and nothing else is wrong in the store. Only the pods that
 * borrow, `borrowing` of them, have a handle.
 */
async function accounted(cluster: BgpCluster, borrowing = 0): Promise<void> {
  await until(LIMIT, async () => {
    const { counts, findings } = await cluster.ipam();
    assert.deepEqual(
      findings.filter(({ severity }) => severity === 'error'),
      [],
    );
    const { length } = cluster.pods;
    const right = counts.addresses === length && counts.handles === borrowing;
    return right ? [] : [`${counts.addresses} addresses, ${counts.handles} handles of ${length} pods`];
  });
}

/** Retries until the pod is removed, as a kubelet does. */
async function removed(cluster: BgpCluster, pod: PodRecord | undefined): Promise<void> {
  if (!pod) return;
  await until(LIMIT, () =>
    cluster.deletePod(pod).then(
      () => [],
      (error: unknown) => [`${error}`],
    ),
  );
}

async function inParallel(limit: number, count: number, work: (i: number) => Promise<void>): Promise<void> {
  let next = 0;
  const worker = async (): Promise<void> => {
    while (next < count) await work(next++);
  };
  await Promise.all(Array.from({ length: limit }, worker));
}
