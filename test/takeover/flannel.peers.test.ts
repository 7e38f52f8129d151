import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, readdirSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseIp } from '../../src/ip/address.ts';
import { RunningPing } from '../agent/running-ping.ts';
import { NO_REFERENCE } from '../cni/reference.ts';
import { eventually, NO_ETCD } from '../store/servers.ts';
import { FlannelCluster, type FlannelNode, NO_FLANNELD, NO_PORTMAP } from './flannel-cluster.ts';

const skip = NO_FLANNELD || NO_REFERENCE || NO_ETCD;

/** flannel's own keys, all that its nodes and ours read. */
const NETWORKS = {
  'vxlan, iptables': { Network: '10.244.0.0/16', Backend: { Type: 'vxlan' } },
  'vxlan, nftables': { Network: '10.244.0.0/16', EnableNFTables: true, Backend: { Type: 'vxlan' } },
  'host-gw, iptables': { Network: '10.244.0.0/16', Backend: { Type: 'host-gw' } },
};

/** portmap's backends, and how their rules look. */
const PORTMAPS = [
  ['iptables', /CNI-DN-/],
  ['nftables', /dnat to .* comment "[^"]+"/],
] as const;

/** Also by the name of the network in the runtime's configuration. */
const CASES = [
  ...(Object.keys(NETWORKS) as (keyof typeof NETWORKS)[]).map((name) => [name, 'cbr0'] as const),
  ['vxlan, iptables', 'my-flannel'] as const,
];

for (const [name, network] of CASES) {
  test(`nodes go from flannel to flatnet and back under ping (${name}, named ${network})`, {
    skip,
    timeout: 300_000,
  }, async (t) => {
    await using cluster = await FlannelCluster.start(3, NETWORKS[name], network);
    const { nodes } = cluster;
    for (const node of nodes) for (let i = 0; i < 2; i++) node.addPod();
    const pings = pingsBetween(t, cluster);
    for (const ping of pings) await ping.answered();
    const macs = nodes.map((node) => node.tunnelMac());
    const leases = nodes.map((node) => node.subnet());

    for (const node of nodes) {
      assert.match(node.takeover('--dry-run').stdout, /flanneld runs/);
      await node.stopFlanneld();
      await node.startAgent();
      const { stdout, stderr, status } = node.takeover();
      assert.equal(status, 0, stdout + stderr);
      assert.match(stdout, /nothing is left to do/);
      assert.doesNotMatch(node.run('nft', 'list', 'ruleset'), /FLANNEL-|flannel-ipv4/);
      await followed(node, 2);
      node.addPod();
      await followed(node, 3);
    }
    for (const node of nodes) {
      node.installFlannelsPlugins();
      await node.startFlanneld();
      assert.match(node.takeover('--back', '--dry-run').stdout, /flatnet’s agent runs/);
      await node.stopAgent();
      const { stdout, stderr, status } = node.takeover('--back');
      assert.equal(status, 0, stdout + stderr);
      assert.doesNotMatch(node.run('nft', 'list', 'ruleset'), /flatnet-/);
      node.addPod();
      const ips = node.pods.map(({ ip }) => ip);
      assert.equal(new Set(ips).size, ips.length, `addresses given twice: ${ips}`);
      assert.deepEqual(node.reserved().toSorted(), ips.toSorted());
    }

    for (const ping of pings) {
      const { sent, lost, seconds } = await ping.end();
      t.diagnostic(`${sent} packets in ${seconds.toFixed(1)} s, ${lost.length} lost`);
      assert.deepEqual(lost, []);
      assert.ok(sent > 100 * seconds, `${sent} packets in ${seconds} s`);
    }
    assert.deepEqual(
      nodes.map((node) => node.tunnelMac()),
      macs,
    );
    assert.deepEqual(
      nodes.map((node) => node.subnet()),
      leases,
    );
    // Both kinds of plugin have made pods here; flannel's frees all of them.
    for (const node of nodes) {
      for (const pod of node.pods.slice()) node.removePod(pod);
      assert.deepEqual(node.reserved(), []);
    }
  });
}

test('pods that a takeover has adopted are freed by flatnet', { skip, timeout: 120_000 }, async () => {
  await using cluster = await FlannelCluster.start(1, NETWORKS['vxlan, iptables']);
  const [node] = cluster.nodes;
  assert.ok(node);
  const pods = [node.addPod(), node.addPod()];
  await node.stopFlanneld();
  await node.startAgent();
  assert.equal(node.takeover().status, 0);
  await followed(node, 2);
  const records = join(node.folders.state, 'attachments');
  assert.equal(readdirSync(records).filter((file) => file.endsWith('.json')).length, 2);
  for (const pod of pods) node.removePod(pod);
  assert.deepEqual(node.reserved(), []);
  await followed(node, 0);
});

for (const [backend, RULES] of PORTMAPS)
  test(`a host port leads to its pod before and after, and to nothing once the pod is gone (portmap with ${backend})`, {
    skip: skip || (backend === 'nftables' && NO_PORTMAP),
    timeout: 120_000,
  }, async (t) => {
    await using cluster = await FlannelCluster.start(1, NETWORKS['vxlan, iptables']);
    const [node] = cluster.nodes;
    assert.ok(node);
    const portMappings = [{ hostPort: 8080, containerPort: 80, protocol: 'tcp' }];
    const pod = node.addPod({ portMappings }, backend);
    const serve = "require('node:net').createServer((c) => c.end('pod')).listen(80)";
    const server = spawn('ip', ['netns', 'exec', pod.netns, process.execPath, '-e', serve]);
    t.after(() => server.kill('SIGKILL'));
    const answer = () => answerFrom(cluster.fabric, node.address, 8080);
    await eventually(() => answer() === 'pod', 20_000);
    assert.match(node.run('nft', 'list', 'ruleset'), RULES);

    await node.stopFlanneld();
    await node.startAgent();
    const { stdout, status } = node.takeover('--dry-run');
    assert.equal(status, 0, stdout);
    assert.match(stdout, /with the host ports 8080\/tcp/);
    assert.equal(node.takeover().status, 0);
    assert.doesNotMatch(node.run('nft', 'list', 'ruleset'), RULES);
    assert.equal(answer(), 'pod');

    node.removePod(pod);
    await eventually(() => answer() === undefined, 5_000);
    assert.doesNotMatch(node.run('nft', 'list', 'ruleset'), new RegExp(pod.ip.replaceAll('.', '\\.')));
  });

for (const [backend, RULES] of PORTMAPS)
  test(`a host port of a pod that goes before it is adopted leads nowhere after the takeover (portmap with ${backend})`, {
    skip: skip || (backend === 'nftables' && NO_PORTMAP),
    timeout: 120_000,
  }, async () => {
    await using cluster = await FlannelCluster.start(1, NETWORKS['vxlan, iptables']);
    const [node] = cluster.nodes;
    assert.ok(node);
    node.addPod();
    const portMappings = [{ hostPort: 8080, containerPort: 80, protocol: 'tcp' }];
    const pod = node.addPod({ portMappings }, backend);
    await node.stopFlanneld();
    await node.startAgent();
    // As a takeover that stopped after its first step.
    const conf = join(node.folders.conf, '10-flannel.conflist');
    renameSync(conf, `${conf}.before-flatnet`);
    node.removePod(pod);
    assert.match(node.run('nft', 'list', 'ruleset'), RULES);
    const { stdout, status } = node.takeover();
    assert.equal(status, 0, stdout);
    assert.doesNotMatch(node.run('nft', 'list', 'ruleset'), RULES);
  });

test('flannel’s chain stays if a firewall would cut off pods without it, also with host-gw', {
  skip,
  timeout: 120_000,
}, async () => {
  await using cluster = await FlannelCluster.start(1, NETWORKS['host-gw, iptables']);
  const [node] = cluster.nodes;
  assert.ok(node);
  node.addPod();
  node.run('iptables-nft', '-P', 'FORWARD', 'DROP');
  await node.stopFlanneld();
  assert.match(node.takeover('--dry-run').stdout, /pods need it: the device .* is not known/);
  await node.startAgent();
  const { stdout, status } = node.takeover();
  assert.equal(status, 0, stdout);
  assert.match(stdout, /pods need it: nft chain ip filter FORWARD drops 10\.244\.0\.0\/16/);
  assert.match(node.run('nft', 'list', 'chain', 'ip', 'filter', 'FORWARD'), /jump FLANNEL-FWD/);
  for (const flag of ['-s', '-d'])
    node.run('iptables-nft', '-I', 'FORWARD', flag, '10.244.0.0/16', '-j', 'ACCEPT');
  assert.equal(node.takeover().status, 0);
  assert.doesNotMatch(node.run('nft', 'list', 'ruleset'), /FLANNEL-FWD/);
});

/** What a server says to a client in a namespace; undefined if it cannot be reached. */
function answerFrom(netns: string, host: string, port: number): string | undefined {
  const code = `require('node:net').connect(${port}, '${host}').setTimeout(1000, () => process.exit(1)).pipe(process.stdout)`;
  const argv = ['netns', 'exec', netns, process.execPath, '-e', code];
  const { status, stdout } = spawnSync('ip', argv, { encoding: 'utf8' });
  return status === 0 ? stdout : undefined;
}

/** Between nodes, on one node, and to the outside, from pods that are there from the beginning. */
function pingsBetween(t: TestContext, { nodes }: FlannelCluster): RunningPing[] {
  const [[a, a2], [b], [c]] = nodes.map(({ pods }) => pods) as [
    FlannelNode['pods'],
    FlannelNode['pods'],
    FlannelNode['pods'],
  ];
  assert.ok(a && a2 && b && c);
  const outside = { ip: parseIp('10.99.0.254') };
  const pairs = [
    [a, b],
    [b, a],
    [a, a2],
    [c, a],
    [b, outside],
  ] as const;
  return pairs.map(([from, to]) => new RunningPing(t, from.netns, to.ip));
}

/** Waits until the agent's status shows so many pods, and nothing wrong. */
async function followed(node: FlannelNode, pods: number): Promise<void> {
  for (const end = Date.now() + 10_000; Date.now() < end; await sleep(100)) {
    if (node.status()?.pods.length === pods) break;
  }
  const status = node.status();
  assert.equal(status?.pods.length, pods);
  assert.deepEqual(status.problems, []);
  assert.ok(existsSync(join(node.folders.run, 'agent.sock')));
}
