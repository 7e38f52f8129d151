import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { networkToNetConf, readNetwork } from '../../src/cluster/network.ts';
import { agentReady, startAgent, stopAgent } from '../../src/lab/machine/agent.ts';
import { NO_KERNEL } from '../state/namespace.ts';
import { eventually } from '../store/servers.ts';
import { Cluster, LAYOUT, type TestNode } from './cluster.ts';
import { NETWORKS } from './networks.ts';
import { RunningPing } from './running-ping.ts';

const has = (cluster: Cluster, node: TestNode, device: string): boolean =>
  cluster.ip(node, '-o link').includes(` ${device}: `);

async function restart(cluster: Cluster, node: TestNode, meanwhile: () => unknown): Promise<void> {
  await stopAgent(cluster.lab, node.name, 'kill');
  await meanwhile();
  await startAgent(cluster.lab, node.name);
  await agentReady(cluster.lab, node.name);
  // Until it has read the cluster and removed what nobody wants.
  await sleep(3000);
}

test('agents that are restarted in the middle of a change of backend still reach those that have not switched', {
  skip: NO_KERNEL,
  timeout: 180_000,
}, async (t) => {
  await using cluster = await Cluster.up(3, NETWORKS.vxlan);
  const { lab } = cluster;
  const [one, two, late] = [...cluster.nodes.values()];
  assert.ok(one && two && late);
  const [far] = late.pods;
  assert.ok(far);
  const pings = [one, two].flatMap((node) =>
    node.pods.flatMap(({ record }) => [
      new RunningPing(t, cluster.podNetns(record), far.record.addresses[0] ?? assert.fail()),
      new RunningPing(t, cluster.podNetns(far.record), record.addresses[0] ?? assert.fail()),
    ]),
  );
  for (const ping of pings) await ping.answered();
  const nothingLost = async (what: string): Promise<void> => {
    const before = pings.map((ping) => ping.soFar().sent);
    await sleep(500);
    assert.deepEqual(
      pings.map((ping) => ping.soFar().lost.length),
      pings.map(() => 0),
      what,
    );
    assert.ok(
      pings.every((ping, i) => ping.soFar().sent > (before[i] ?? 0)),
      `${what}: answers still come`,
    );
  };
  const state = (node: TestNode): string => join(lab.paths.node(node.name).agent.state, 'view.json');

  await stopAgent(lab, late.name, 'kill');
  const change = (): Promise<unknown> =>
    cluster.store((kv) => kv.put(LAYOUT.config, networkToNetConf(readNetwork(NETWORKS['host-gw']))));

  // Without a view, it cannot know what there was before; its kernel does.
  await restart(cluster, two, async () => {
    rmSync(state(two));
    await change();
  });
  await nothingLost('changed while an agent was down, and its view lost');

  await eventually(() => cluster.ip(one, 'route show proto 110').includes('via 172.'), 20_000);
  await sleep(1500);
  await restart(cluster, one, () => {});
  await nothingLost('killed after the change');
  assert.ok(has(cluster, one, 'flannel.1'));

  for (const ping of pings) await ping.end();
  await restart(cluster, one, () => cluster.ip(one, 'link delete flannel.1'));
  assert.ok(has(cluster, one, 'flannel.1'), 'made anew, as the node remembers the former network');
  assert.ok(has(cluster, two, 'flannel.1'));
  await startAgent(lab, late.name);
  await agentReady(lab, late.name);
});
