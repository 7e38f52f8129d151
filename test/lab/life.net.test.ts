import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { LabPaths } from '../../src/lab/record/paths.ts';
import { createNetns, deleteNetns } from '../../src/linux/netns.ts';
import { CANNOT, FLATNET, ip, sysctls, TestLab, traces } from './host.ts';

const NOTHING = { namespaces: [], processes: [], files: [], links: [], mounts: [] };

type Pair = { from: string; to: string; reached: boolean; ownSource: boolean; family: number };

test('two labs with the same addresses run side by side, and neither leaves anything behind', {
  skip: CANNOT,
}, async (t) => {
  const before = sysctls();
  const [a, b] = [new TestLab(t, 'a'), new TestLab(t, 'b')];
  const begun = performance.now();
  await Promise.all([a.ok('up', '--nodes', '2'), b.ok('up', '--nodes', '2', '--backend', 'host-gw')]);
  assert.ok(performance.now() - begun < 20_000, 'up took far too long');
  assert.ok(Number(sysctls()[0]) > 1024, 'the limits of neighbour tables were not raised');
  for (const lab of [a, b]) {
    await lab.ok('pod', 'create', 'web', '--listen', '80', '--node', 'node1');
    await lab.ok('pod', 'create', 'db', '--node', 'node2');
    const pairs = await lab.json<Pair[]>('matrix');
    assert.equal(pairs.length, 2 * 1 + 2 * 2);
    assert.ok(pairs.every(({ reached, ownSource }) => reached && ownSource));
    assert.match(await lab.ok('exec', 'db', '--', 'hostname'), /^db\n$/);
  }
  assert.match(ip(`${a.name}-node1`, 'route'), /dev flannel\.1 (proto 110 )?onlink/);
  assert.match(ip(`${b.name}-node1`, 'route'), /via 172\.30\.0\.12 dev eth0/);

  assert.match(await a.ok('down'), /removed/);
  assert.deepEqual(traces(a.name), NOTHING);
  const left = await b.json<Pair[]>('matrix');
  assert.ok(
    left.every(({ reached }) => reached),
    'the other lab was affected',
  );
  assert.ok(Number(sysctls()[0]) > 1024, 'the limits were restored with the first lab');
  await b.ok('down');
  assert.deepEqual(traces(b.name), NOTHING);
  // Other labs on this machine keep the limits raised, or had raised them before.
  const others = JSON.parse(await a.ok('list', '--json').catch(() => '[]'));
  if (others.length === 0 && Number(before[0]) <= 1024) assert.deepEqual(sysctls(), before);
});

test('a lab can have two subnets, IPv4 and IPv6, a router between them, and an outside world', {
  skip: CANNOT,
}, async (t) => {
  const lab = new TestLab(t, 's');
  await lab.ok('up', '--nodes', '3', '--subnets', '2', '--network', '10.99.0.0/16,fd99::/48');
  for (const node of [1, 2, 3]) await lab.ok('pod', 'create', `p${node}`, '--node', `node${node}`);
  const pairs = await lab.json<Pair[]>('matrix');
  assert.deepEqual(new Set(pairs.map(({ family }) => family)), new Set([4, 6]));
  assert.deepEqual(
    pairs.filter(({ reached, ownSource }) => !reached || !ownSource),
    [],
  );
  assert.match(ip(`${lab.name}-node2`, 'address', 'show', 'eth0'), /172\.30\.1\.12\/24.*fd77:0:0:1::12\/64/s);
  assert.match(await lab.ok('ping', 'p1', '172.30.255.1', '-c', '1'), /1 received/);
  assert.match(await lab.ok('ping', 'p1', 'fd77:0:0:ff::1', '-c', '1'), /1 received/);
  const ping = await lab.json<{ received: number; ownSource: boolean; sources: string[] }>(
    ...['ping', 'p1', 'node2', '-6', '-c', '2', '-i', '0.05'],
  );
  assert.equal(ping.received, 2);
  const status = await lab.json<{ problems: string[]; leases: { node: string; subnets: string[] }[] }>(
    'status',
  );
  assert.deepEqual(status.problems, []);
  assert.deepEqual(
    status.leases.map(({ node, subnets }) => [node, subnets.length]),
    [
      ['node1', 2],
      ['node2', 2],
      ['node3', 2],
    ],
  );
});

test('nodes can be stopped, started, added and deleted', { skip: CANNOT }, async (t) => {
  const lab = new TestLab(t, 'n');
  await lab.ok('up', '--nodes', '2');
  for (const name of ['a', 'b']) await lab.ok('pod', 'create', name);
  const reached = async (): Promise<boolean> => {
    const { status } = await lab.run('ping', 'a', 'b', '-c', '1', '-W', '0.3');
    return status === 0;
  };
  await lab.ok('node', 'stop', 'node1');
  assert.ok(await reached(), 'stopping the agent broke the data path');
  const stopped = await lab.run('status');
  assert.equal(stopped.status, 1);
  assert.match(stopped.stdout, /! node1: no agent is running/);
  const pending = await lab.run('pod', 'create', 'c', '--node', 'node1');
  assert.equal(pending.status, 1);
  assert.match(pending.stderr, /the flatnet agent of this node is not available/);
  assert.deepEqual(
    traces(lab.name).namespaces.filter((each) => each.endsWith('.c')),
    [],
    'a pod that could not be wired left its namespace',
  );
  await lab.ok('node', 'start', 'node1');
  await lab.ok('node', 'restart', 'node2', '--kill');
  assert.ok(await reached());
  await lab.ok('node', 'stop', 'node2', '--power');
  assert.equal(await reached(), false, 'a node without power still answers');
  const dark = await lab.run('matrix', '--timeout', '200');
  assert.equal(dark.status, 1);
  assert.match(dark.stdout, /FAIL/);
  assert.match(dark.stdout, /a -> b IPv4: no reply/);
  await lab.ok('node', 'start', 'node2');
  assert.ok(await reached());

  await lab.ok('node', 'add', 'edge');
  await lab.ok('pod', 'create', 'c', '--node', 'edge');
  await lab.ok('matrix');
  await lab.ok('node', 'delete', 'edge');
  assert.equal((await lab.run('node', 'delete', 'edge')).status, 1);
  const { nodes, leases, pods } =
    await lab.json<Record<'nodes' | 'leases' | 'pods', { name?: string }[]>>('status');
  assert.deepEqual([nodes.length, leases.length, pods.map(({ name }) => name)], [2, 2, ['a', 'b']]);
  const { namespaces } = traces(lab.name);
  assert.ok(namespaces.every((each) => !each.includes('edge') && !each.endsWith('.c')));
});

test('`down` removes any broken lab, and nothing else', { skip: CANNOT }, async (t) => {
  const lab = new TestLab(t, 'w');
  const other = `${lab.name}-x-node1`;
  createNetns(other);
  t.after(() => deleteNetns(other));
  await lab.ok('up', '--nodes', '1');
  await lab.ok('pod', 'create', 'a');
  const stray = spawn('ip', ['netns', 'exec', `${lab.name}-node1`, 'sleep', '1000'], { stdio: 'ignore' });
  const strayEnd = new Promise((resolve) => stray.once('exit', resolve));
  await sleep(50);

  const again = await lab.run('up');
  assert.deepEqual([again.status, again.stdout], [1, '']);
  assert.match(again.stderr, /already up; inspect it: flatnet lab status --lab .* flatnet lab down --lab/);

  // Half removed: the lab's record is gone, so its nodes are unknown.
  rmSync(new LabPaths(lab.name).state);
  rmSync(new LabPaths(lab.name).nodes, { recursive: true });
  for (const args of [['up'], ['status'], ['pod', 'create', 'b']]) {
    const { status, stderr } = await lab.run(...args);
    assert.equal(status, 1);
    assert.match(stderr, /is incomplete; unless .*flatnet lab down --lab/);
  }
  await lab.ok('down');
  await strayEnd;
  assert.deepEqual({ ...traces(lab.name), namespaces: [], mounts: [] }, NOTHING);
  assert.deepEqual(traces(lab.name).namespaces, [other], 'a foreign namespace was removed too');
  assert.match(await lab.ok('down'), /nothing to do/);
});

test('an `up` that fails or is interrupted leaves nothing behind', { skip: CANNOT }, async (t) => {
  const lab = new TestLab(t, 'f');
  const begun = async (): Promise<void> => {
    while (!traces(lab.name).namespaces.includes(`${lab.name}-node1`)) await sleep(20);
  };
  const up = spawn(FLATNET, ['lab', 'up', '--name', lab.name, '--nodes', '4']);
  let output = '';
  up.stderr.on('data', (chunk) => {
    output += chunk;
  });
  await begun();
  up.kill('SIGINT');
  const status = await new Promise((resolve) => up.once('close', resolve));
  assert.equal(status, 1);
  assert.match(output, /flatnet: stopped by SIGINT; the incomplete lab has been removed\n$/);
  assert.deepEqual(traces(lab.name), NOTHING);

  // If `up` is killed outright, the lab is reported as incomplete.
  const killed = spawn(FLATNET, ['lab', 'up', '--name', lab.name], { stdio: 'ignore' });
  await begun();
  killed.kill('SIGKILL');
  await new Promise((resolve) => killed.once('exit', resolve));
  // As if the signal had come while `up` probed the kernel.
  execFileSync('ip', ['netns', 'add', `${lab.name}.probe`]);
  assert.match((await lab.run('up')).stderr, /is incomplete/);
  await lab.ok('down');
  assert.deepEqual(traces(lab.name), NOTHING);

  // Neither affects the next lab, which is configured by flannel's own file.
  const conf = join('/tmp', `${lab.name}.json`);
  t.after(() => rmSync(conf, { force: true }));
  writeFileSync(conf, JSON.stringify({ network: '10.98.0.0/16', BACKEND: { type: 'host-gw' }, unknown: 1 }));
  await lab.ok('up', '--nodes', '1', '--config', conf);
  assert.match(await lab.ok('status'), /10\.98\.\d+\.0\/24 .*host-gw/);
});
