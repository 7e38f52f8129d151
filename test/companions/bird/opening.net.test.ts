import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { agentReady, agentStatus, startAgent } from '../../../src/lab/machine/agent.ts';
import { NO_KERNEL } from '../../state/namespace.ts';
import { BgpCluster, until } from './bgp-cluster.ts';

/** Milliseconds that a BIRD has for its sessions. */
const PATIENCE = 15_000;

/** No packet of BGP leaves or reaches the node. */
const CUT = `add table inet cut
add chain inet cut in { type filter hook input priority 0; }
add chain inet cut out { type filter hook output priority 0; }
add rule inet cut in tcp dport 179 drop
add rule inet cut in tcp sport 179 drop
add rule inet cut out tcp dport 179 drop
add rule inet cut out tcp sport 179 drop`;

test('a node whose BIRD starts anew is ready once its sessions stand, or had time', {
  skip: NO_KERNEL,
  timeout: 300_000,
}, async (t) => {
  await using cluster = await BgpCluster.up(3);
  const { lab } = cluster;
  for (const node of cluster.nodes) await cluster.addPod(node);
  await cluster.established(() => 2);

  /** As a loss of power: nothing of BIRD is left, and no peer is told. */
  const lose = async (): Promise<void> => {
    cluster.run('node1', 'nft', CUT);
    await cluster.kill(['node1'], 'agent', 'bird');
    // The kernel still holds the connections, and would close them once packets pass.
    cluster.run('node1', 'ss', '--kill', 'sport = :179 or dport = :179');
    rmSync(cluster.birdFiles('node1').folder, { recursive: true });
    cluster.run('node1', 'ip', 'route', 'flush', 'proto', 'bird');
  };
  const reason = async (): Promise<string> => (await agentStatus(lab, 'node1'))?.notReady ?? '';

  await t.test('sessions come late: so does the node, but not the pods that it is given', async () => {
    await lose();
    await startAgent(lab, 'node1');
    await until(10_000, async () =>
      /^no BGP session yet with node2, 172\.30\.0\.12: .*node3,/.test(await reason()) ? [] : [await reason()],
    );
    const pod = await cluster.addPod('node1');
    assert.match(await reason(), /^no BGP session yet/);
    cluster.run('node1', 'nft', 'delete table inet cut');
    await agentReady(lab, 'node1');
    // Both peers dial, once they notice that the connections of before are dead.
    const { sessions } = await cluster.bgpStatus('node1');
    assert.deepEqual(
      sessions.map(({ info }) => info),
      ['Established', 'Established'],
    );
    await cluster.deletePod(pod);
  });

  await t.test('a dead peer holds it up no longer than that', async () => {
    await cluster.kill(['node3'], 'agent', 'bird');
    await lose();
    cluster.run('node1', 'nft', 'delete table inet cut');
    const begin = performance.now();
    await startAgent(lab, 'node1');
    await agentReady(lab, 'node1');
    const took = performance.now() - begin;
    assert.ok(took > PATIENCE - 2000 && took < PATIENCE + 5000, `${took} ms`);
  });

  await t.test('an agent that takes over a BIRD is ready at once, whoever is dead', async () => {
    await sleep(1000);
    await cluster.kill(['node1'], 'agent');
    const begin = performance.now();
    await cluster.start(['node1']);
    const took = performance.now() - begin;
    assert.ok(took < 5000, `${took} ms`);
  });
});
