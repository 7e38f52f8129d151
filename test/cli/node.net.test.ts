import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Lab } from '../../src/lab/record/lab.ts';
import { netnsPath, withNetns } from '../../src/linux/netns.ts';
import { writeSysctl } from '../../src/linux/sysctl.ts';
import { CANNOT, flatnet, TestLab } from '../lab/host.ts';
import { startEmbedded } from '../store/servers.ts';

const FLATNET = resolve(import.meta.dirname, '../../bin/flatnet');

test('status shows a node’s agent, and diff shows what its kernel lacks', {
  skip: CANNOT,
}, async (t) => {
  const lab = new TestLab(t, 'n');
  await lab.ok('up', '--nodes', '2');
  await lab.ok('pod', 'create', 'web', '--node', 'node1');
  const node = ['--lab', lab.name, '--node', 'node1'];

  const status = await flatnet('status', ...node);
  assert.equal(status.status, 0, status.stderr);
  assert.match(status.stdout, /^agent +ready \(pid \d+\)$/m);
  assert.match(status.stdout, /^default\/web +10\.244\.\d+\.2 +veth/m);
  const facts = JSON.parse((await flatnet('status', ...node, '--json')).stdout);
  assert.deepEqual([facts.node, facts.ready, facts.peers, facts.pods.length], ['node1', true, 1, 1]);

  const all = JSON.parse((await flatnet('diff', ...node, '--all', '--json')).stdout) as string[];
  assert.ok(
    all.some((line) => /^ip route replace 10\.244\.\d+\.0\/24 via .* dev flannel\.1 onlink$/.test(line)),
  );
  assert.deepEqual(await flatnet('diff', ...node), {
    status: 0,
    stdout: 'the kernel holds what it should\n',
    stderr: '',
  });
  // The kernel does not announce changes to this sysctl: the difference stays until the next regular check.
  withNetns(netnsPath(`${lab.name}-node1`), () => writeSysctl('net/ipv6/conf/flannel.1/accept_ra', 1));
  const diff = await flatnet('diff', ...node);
  assert.deepEqual([diff.status, diff.stdout], [1, '~ sysctl -w net/ipv6/conf/flannel.1/accept_ra=0\n']);

  const wrong = await flatnet('diff', '--lab', lab.name, '--node', 'node9');
  assert.equal(wrong.status, 1);
  assert.match(wrong.stderr, /there is no node 'node9'; it has node1, node2/);

  await lab.ok('node', 'stop', 'node1');
  for (const command of ['status', 'diff']) {
    const { status, stderr } = await flatnet(command, ...node);
    assert.equal(status, 1);
    assert.match(stderr, /agent\.sock.*check that it is running: flatnet lab status --lab /);
  }
});

test('a node without BGP peers among other nodes is a problem', { skip: CANNOT }, async (t) => {
  const lab = new TestLab(t, 'a');
  await lab.ok('up', '--nodes', '2', '--preset', 'calico-bgp');
  const status = () => flatnet('bgp', 'status', '--lab', lab.name, '--node', 'node1');
  const before = await status();
  assert.equal(before.status, 0, before.stdout);

  const meshOff = {
    apiVersion: 'projectcalico.org/v3',
    kind: 'BGPConfiguration',
    metadata: { name: 'default' },
    spec: { nodeToNodeMeshEnabled: false },
  };
  const folder = mkdtempSync(join(tmpdir(), 'flatnet-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const file = join(folder, 'mesh.json');
  writeFileSync(file, JSON.stringify(meshOff));
  const applied = await flatnet('apply', '-f', file, '--lab', lab.name);
  assert.match(applied.stderr, /^warning: nodeToNodeMeshEnabled is false and there is no BGPPeer/);
  const deadline = performance.now() + 60_000;
  while ((await status()).status === 0 && performance.now() < deadline) await sleep(100);
  const after = await status();
  assert.equal(after.status, 1, after.stdout);
  assert.match(after.stdout, /^! this node has no BGP session: the node-to-node mesh is off, /m);
});

test('before there is a configuration, status claims nothing', { skip: CANNOT }, async (t) => {
  const lab = new TestLab(t, 'f');
  await lab.ok('up', '--nodes', '1');
  const { paths } = Lab.open(lab.name);
  const files = paths.node('node1').agent;
  const { endpoint, stop } = await startEmbedded();
  t.after(stop);
  await lab.ok('node', 'stop', 'node1');
  rmSync(files.state, { recursive: true });
  rmSync(files.subnetFile);
  const config = JSON.parse(readFileSync(paths.node('node1').agentConfig, 'utf8'));
  const file = join(files.state, '../first.json');
  writeFileSync(file, JSON.stringify({ ...config, store: { endpoints: [endpoint] } }));
  const agent = withNetns(netnsPath(`${lab.name}-node1`), () =>
    spawn(FLATNET, ['agent', '--config', file], { stdio: 'ignore' }),
  );
  t.after(() => agent.kill());
  const status = () => flatnet('status', '--lab', lab.name, '--node', 'node1');
  let answer = await status();
  const deadline = performance.now() + 30_000;
  while (!/configuration/.test(answer.stdout) && performance.now() < deadline) {
    await sleep(100);
    answer = await status();
  }
  assert.match(
    answer.stdout,
    /^agent +not ready: the network is unknown: .*there is no network configuration;/m,
  );
  assert.match(answer.stdout, /^backend +unknown$/m);
  assert.match(answer.stdout, /^pod mtu +unknown$/m);
  assert.match(answer.stdout, /^store +no lease yet$/m);
  assert.equal(answer.stdout.match(/there is no network configuration/g)?.length, 1, answer.stdout);
});
