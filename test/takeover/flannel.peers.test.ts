import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { NO_REFERENCE } from '../cni/reference.ts';
import { eventually, NO_ETCD } from '../store/servers.ts';
import { FlannelCluster, type FlannelPod } from './flannel-cluster.ts';
import { pingsBetween, settled } from './pings.ts';
import { FLANNELD, PORTMAP } from './programs.ts';
import { assertAllAreFreed, assertNoneLost, comeBack, goOver } from './there-and-back.ts';

const skip = FLANNELD.missing || NO_REFERENCE || NO_ETCD;

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
      await goOver(node);
    }
    for (const node of nodes) {
      node.installFlannelsPlugins();
      await node.startFlanneld();
      assert.match(node.takeover('--back', '--dry-run').stdout, /flatnet’s agent runs/);
      await comeBack(node);
    }

    await assertNoneLost(t, pings);
    assert.deepEqual(
      nodes.map((node) => node.tunnelMac()),
      macs,
    );
    assert.deepEqual(
      nodes.map((node) => node.subnet()),
      leases,
    );
    assertAllAreFreed(nodes);
  });
}

test('flannel’s own udp proxy and ours carry packets for each other', {
  skip,
  timeout: 120_000,
}, async () => {
  await using cluster = await FlannelCluster.start(2, { Network: '10.244.0.0/16', Backend: { Type: 'udp' } });
  const [one, two] = cluster.nodes;
  assert.ok(one && two);
  const [a, b] = [one.addPod(), two.addPod()];
  const inPod = ({ netns }: FlannelPod, ...command: string[]) =>
    spawnSync('ip', ['netns', 'exec', netns, ...command], { encoding: 'utf8', timeout: 20_000 });
  await one.stopFlanneld();
  await one.startAgent();
  const { stdout, stderr, status } = one.takeover();
  assert.equal(status, 0, stdout + stderr);
  await settled(one, 1);

  for (const [from, to] of [
    [a, b],
    [b, a],
  ] as const) {
    const received = (bytes: number): string | undefined =>
      /\d+ received/.exec(
        inPod(from, 'ping', '-Mdo', `-s${bytes - 28}`, '-c2', '-i0.1', '-W2', to.ip).stdout,
      )?.[0];
    assert.equal(received(1472), '2 received', two.log);
    assert.equal(received(1473), '0 received');
  }
  // Of TCP, our side cuts and joins large packets.
  const server = spawn('ip', ['netns', 'exec', b.netns, 'iperf3', '-s']);
  try {
    for (const direction of [[], ['-R']]) {
      const transfer = () => inPod(a, 'iperf3', '-J', '-n', '20M', '-c', b.ip, ...direction);
      await eventually(() => JSON.parse(transfer().stdout).end?.sum_received?.bytes >= 19e6, 20_000);
    }
  } finally {
    server.kill('SIGKILL');
  }
});

test('the way back frees the addresses of pods that are deleted while no agent runs', {
  skip,
  timeout: 120_000,
}, async () => {
  await using cluster = await FlannelCluster.start(1, NETWORKS['vxlan, iptables']);
  const [node] = cluster.nodes;
  assert.ok(node);
  const [first] = [node.addPod(), node.addPod()];
  await node.stopFlanneld();
  await node.startAgent();
  assert.equal(node.takeover().status, 0);
  const second = node.addPod();
  node.installFlannelsPlugins();
  await node.startFlanneld();
  await node.stopAgent();
  for (const pod of [first, second]) node.removePod(pod);
  const { stdout, stderr, status } = node.takeover('--back');
  assert.equal(status, 0, stdout + stderr);
  assert.deepEqual(
    node.reserved(),
    node.pods.map(({ ip }) => ip),
  );
  for (const pod of node.pods.slice()) node.removePod(pod);
  assert.deepEqual(node.reserved(), []);
});

test('pods that a takeover has adopted are freed by flatnet', { skip, timeout: 120_000 }, async () => {
  await using cluster = await FlannelCluster.start(1, NETWORKS['vxlan, iptables']);
  const [node] = cluster.nodes;
  assert.ok(node);
  const pods = [node.addPod(), node.addPod()];
  await node.stopFlanneld();
  await node.startAgent();
  assert.equal(node.takeover().status, 0);
  await settled(node, 2);
  const records = join(node.folders.state, 'attachments');
  assert.equal(readdirSync(records).filter((file) => file.endsWith('.json')).length, 2);
  for (const pod of pods) node.removePod(pod);
  assert.deepEqual(node.reserved(), []);
  await settled(node, 0);
});

for (const [backend, RULES] of PORTMAPS)
  test(`a host port leads to its pod before and after, and to nothing once the pod is gone (portmap with ${backend})`, {
    skip: skip || (backend === 'nftables' && PORTMAP.missing),
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
    skip: skip || (backend === 'nftables' && PORTMAP.missing),
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

test('with another name of the network, a pod’s address is freed by a DEL between any two steps', {
  skip,
  timeout: 120_000,
}, async () => {
  await using cluster = await FlannelCluster.start(1, NETWORKS['vxlan, iptables'], 'my-flannel');
  const [node] = cluster.nodes;
  assert.ok(node);
  const pods = [node.addPod(), node.addPod(), node.addPod()];
  await node.stopFlanneld();
  await node.startAgent();
  const conf = join(node.folders.conf, '10-flannel.conflist');
  renameSync(conf, `${conf}.before-flatnet`);
  const [first, second] = pods.map(({ ip }) => join('my-flannel', ip));
  assert.ok(first && second && pods[0] && pods[1]);
  node.removePod(pods[0]);
  assert.equal(node.reserved().length, 2);
  const networks = join(node.folders.cni, 'networks');
  mkdirSync(join(networks, 'cbr0'), { recursive: true });
  renameSync(join(networks, second), join(networks, 'cbr0', pods[1].ip));
  node.removePod(pods[1]);
  assert.deepEqual(node.reserved(), [pods[2]?.ip]);
  const { stdout, stderr, status } = node.takeover();
  assert.equal(status, 0, stdout + stderr);
  await settled(node, 1);
});

test('a stale reservation in flatnet’s folder keeps a pod from being adopted, by any name, until it is gone', {
  skip,
  timeout: 120_000,
}, async () => {
  await using cluster = await FlannelCluster.start(1, NETWORKS['vxlan, iptables'], 'my-flannel');
  const [node] = cluster.nodes;
  assert.ok(node);
  const pods = [node.addPod(), node.addPod()];
  const [pod] = pods;
  assert.ok(pod);
  const ours = join(node.folders.cni, 'networks', 'cbr0');
  mkdirSync(ours, { recursive: true });
  const stale = join(ours, pod.ip);
  writeFileSync(stale, 'gone\r\neth0');
  await node.stopFlanneld();
  await node.startAgent();
  const { stdout, stderr, status } = node.takeover();
  assert.equal(status, 1, stdout + stderr);
  assert.match(stderr, new RegExp(`${pod.ip} reserved in ${ours} for another pod`));
  assert.match(
    stderr,
    new RegExp(`adopt pod default/${pod.id}: .* is not reserved for it in|no reservation`),
  );
  assert.deepEqual(
    node.status()?.pods.map(({ containerId }) => containerId),
    [pods[1]?.id],
  );
  rmSync(stale);
  assert.equal(node.takeover().status, 0);
  await settled(node, 2);
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
