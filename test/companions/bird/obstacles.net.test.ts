import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { askAgent } from '../../../src/agent/ask.ts';
import { routesText } from '../../../src/cli/bgp/routes.ts';
import { labStatus } from '../../../src/lab/inspect/status.ts';
import { NO_KERNEL } from '../../state/namespace.ts';
import { BgpCluster, until } from './bgp-cluster.ts';

const LIMIT = 30_000;

test('somebody’s route in the way of BIRD’s is named everywhere, with the command that removes it', {
  skip: NO_KERNEL,
  timeout: 300_000,
}, async (t) => {
  await using cluster = await BgpCluster.up(2);
  for (const node of cluster.nodes) await cluster.addPod(node);
  await cluster.established(() => 1);
  await cluster.reachable();
  const socket = cluster.lab.paths.node('node1').agentSocket;
  const status = () => askAgent(socket, { op: 'status' });
  const { routes } = await askAgent(socket, { op: 'bgp-routes', peer: 'node2' });
  const block = routes[0]?.net;
  assert.ok(block);

  for (const [how, route, command] of [
    ['before BIRD’s', `${block} via 172.30.0.1 dev eth0 proto static`, 'metric 0'],
    ['in the place of BIRD’s', `${block} via 172.30.0.1 dev eth0 proto static metric 32`, 'metric 32'],
    ['of a type that drops packets', `blackhole ${block} proto 77`, 'metric 0'],
  ] as const) {
    await t.test(how, async () => {
      cluster.run('node1', 'ip', 'route', 'replace', ...route.split(' '));
      const fix = `ip route del ${route.replace(' metric 32', '')} ${command}`;
      await until(LIMIT, async () => {
        const { problems } = await status();
        return problems.some((each) => each.fix === fix && each.severity === 'error')
          ? []
          : [`no ${fix} in ${JSON.stringify(problems)}`];
      });
      const lines = (await labStatus(cluster.lab)).problems;
      assert.ok(
        lines.some((line) => line.startsWith('node1: pods of node2 in ') && line.endsWith(fix)),
        lines.join(),
      );
      const shown = await askAgent(socket, { op: 'bgp-routes', peer: 'node2' });
      assert.match(routesText(shown.routes), new RegExp(`\\n!  ${block} .* \\(the kernel uses: .*${block} `));

      cluster.run('node1', ...fix.split(' '));
      await until(LIMIT, async () => (await status()).problems.map((each) => each.what));
      await cluster.reachable(3000);
      // BIRD reinstalls its routes once more.
      await sleep(500);
    });
  }
});
