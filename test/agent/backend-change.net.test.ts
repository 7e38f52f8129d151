import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { networkToNetConf, readNetwork } from '../../src/cluster/network.ts';
import { programsAt } from '../../src/companions/udp/fast-path/programs.ts';
import { agentReady, agentStatus, startAgent, stopAgent } from '../../src/lab/machine/agent.ts';
import { netnsPath, withNetns } from '../../src/linux/netns.ts';
import { eventually } from '../store/servers.ts';
import { Cluster, LAYOUT } from './cluster.ts';
import { NETWORKS } from './networks.ts';
import { RunningPing } from './running-ping.ts';
import { changeSavedView } from './saved-view.ts';

/** Both backends stand side by side for 30 s, and the former one still receives for another 30 s. */
const HANDOVER = 65_000;

test('a change of backend loses nothing, even to a node whose agent is down meanwhile', {
  timeout: 300_000,
}, async (t) => {
  await using cluster = await Cluster.up(3, NETWORKS.vxlan);
  const nodes = [...cluster.nodes.values()];
  const late = nodes[2] ?? assert.fail();
  const pods = nodes.flatMap(({ pods }) => pods.map(({ record }) => record));
  const pings = pods.flatMap((from) =>
    pods
      .filter((to) => to !== from)
      .flatMap(({ name, addresses }) =>
        addresses.map((ip) => ({
          title: `${from.name} to ${name}`,
          ping: new RunningPing(t, cluster.podNetns(from), ip),
        })),
      ),
  );
  const lost = () =>
    pings.flatMap(({ title, ping }) => {
      const { sent, lost } = ping.soFar();
      return lost.length === 0 && sent > 0 ? [] : [`${title}: ${lost.length} of ${sent}`];
    });
  const tunnels = () =>
    nodes.filter((node) => / flannel\.1: /.test(cluster.ip(node, '-o link'))).map(({ name }) => name);

  await stopAgent(cluster.lab, late.name, 'kill');
  const [first] = nodes;
  changeSavedView(cluster.lab, late.name, (saved) => saved.filter(({ name }) => name !== first?.name));
  const network = readNetwork(NETWORKS['host-gw']);
  await cluster.store((kv) => kv.put(LAYOUT.config, networkToNetConf(network)));
  await sleep(HANDOVER);
  assert.deepEqual(lost(), []);
  const answered = pings.map(({ ping }) => ping.soFar().sent);
  await eventually(() => pings.every(({ ping }, i) => ping.soFar().sent > (answered[i] ?? 0)));
  assert.equal(tunnels().length, 3);

  await startAgent(cluster.lab, late.name);
  await agentReady(cluster.lab, late.name);
  for (const end = performance.now() + HANDOVER + 30_000; tunnels().length > 0; await sleep(500)) {
    assert.ok(performance.now() < end, `${tunnels()} keep the former tunnel`);
  }
  assert.deepEqual(lost(), []);
  assert.equal((await agentStatus(cluster.lab, late.name))?.backend, 'host-gw');
});

test('a change to a backend with a program of its own and back loses nothing, and leaves nothing', {
  timeout: 300_000,
}, async (t) => {
  await using cluster = await Cluster.up(2, NETWORKS['vxlan dual stack']);
  const nodes = [...cluster.nodes.values()];
  const pods = nodes.flatMap(({ pods }) => pods.map(({ record }) => record));
  const pings = pods.flatMap((from) =>
    pods
      .filter((to) => to !== from)
      .flatMap(({ addresses }) => addresses.map((ip) => new RunningPing(t, cluster.podNetns(from), ip))),
  );
  for (const ping of pings) await ping.answered();
  for (const name of ['udp dual stack', 'vxlan dual stack'] as const) {
    const network = readNetwork(NETWORKS[name]);
    await cluster.store((kv) => kv.put(LAYOUT.config, networkToNetConf(network)));
    const former = name === 'udp dual stack' ? 'flannel.1' : 'flannel0';
    for (const end = performance.now() + HANDOVER + 30_000; ; await sleep(500)) {
      if (nodes.every((node) => !cluster.ip(node, '-o link').includes(` ${former}: `))) break;
      assert.ok(performance.now() < end, `${former} is still there`);
    }
  }
  const ends = await Promise.all(pings.map((ping) => ping.end()));
  for (const { sent, lost } of ends) t.diagnostic(`${lost.length} of ${sent} lost: ${lost.join(' ')}`);
  assert.ok(ends.every(({ sent, lost }) => sent > 1000 && lost.length === 0));
  for (const node of nodes) {
    await eventually(() => !cluster.run(node, 'ss', '-aun').includes(':8285 '));
  }
  // Nobody starts it again.
  await sleep(3000);
  for (const node of nodes) {
    assert.doesNotMatch(cluster.run(node, 'ss', '-aun'), /:8285 /);
    assert.doesNotMatch(cluster.run(node, 'nft', 'list', 'tables'), /flatnet-udp/);
    assert.doesNotMatch(cluster.ip(node, '-o link'), /flannel0/);
    const [{ ifindex }] = JSON.parse(cluster.ip(node, '-j link show dev eth0'));
    assert.deepEqual(
      withNetns(netnsPath(cluster.netns(node)), () => programsAt(ifindex)),
      [],
    );
  }
});
