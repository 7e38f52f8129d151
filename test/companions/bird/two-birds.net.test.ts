import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { askAgent } from '../../../src/agent/ask.ts';
import { labStatus } from '../../../src/lab/inspect/status.ts';
import { identify, isAlive, killNow, type ProcessId } from '../../../src/linux/process.ts';
import { problemText } from '../../../src/problem.ts';
import { NO_KERNEL } from '../../state/namespace.ts';
import { BgpCluster, until } from './bgp-cluster.ts';

const LIMIT = 60_000;

/** All BIRDs in a node's namespace. */
function birdsOf(cluster: BgpCluster, node: string): number[] {
  const pids = execFileSync('ip', ['netns', 'pids', cluster.netns(node)], { encoding: 'utf8' });
  return pids
    .split('\n')
    .map(Number)
    .filter((pid) => pid > 0 && existsSync(`/proc/${pid}/comm`))
    .filter((pid) => readFileSync(`/proc/${pid}/comm`, 'utf8').trim() === 'bird');
}

async function settled(cluster: BgpCluster): Promise<void> {
  await cluster.established(() => 2);
  await until(LIMIT, async () => (await labStatus(cluster.lab)).problems);
}

test('an agent that lost its run folder ends the BIRD it left behind before it starts another', {
  skip: NO_KERNEL,
  timeout: 300_000,
}, async (t) => {
  await using cluster = await BgpCluster.up(3);
  for (const node of cluster.nodes) await cluster.addPod(node);
  await settled(cluster);
  const folder = cluster.birdFiles('node1').folder;

  for (const [how, remove] of [
    ['all of it', () => rmSync(folder, { recursive: true })],
    ['its pid file', () => rmSync(join(folder, 'bird.pid'))],
    ['its socket', () => rmSync(join(folder, 'bird.ctl'))],
    [
      'all but its log',
      () => {
        for (const name of readdirSync(folder)) if (name !== 'bird.log') rmSync(join(folder, name));
      },
    ],
  ] as const) {
    await t.test(how, async (t) => {
      const [a, b, c] = cluster.pods;
      assert.ok(a && b && c);
      const pings = [...cluster.ping(t, a, b), ...cluster.ping(t, c, a)];
      const [old] = birdsOf(cluster, 'node1');
      await cluster.kill(['node1'], 'agent');
      remove();
      await cluster.start(['node1']);
      await settled(cluster);
      const now = birdsOf(cluster, 'node1');
      assert.deepEqual(now, [cluster.bird('node1')?.pid]);
      assert.notEqual(now[0], old);
      await sleep(1000);
      for (const ping of pings) {
        const { lost } = await ping.end();
        assert.deepEqual(lost, []);
      }
    });
  }

  await t.test('a BIRD of somebody else’s on the port is named and left alone', async (t) => {
    await cluster.kill(['node1'], 'agent', 'bird');
    const own = mkdtempSync(join(tmpdir(), `flatnet-other-bird-${process.pid}-`));
    const config = `router id 10.9.9.9;
protocol device { }
protocol bgp any { local as 65000; neighbor range 10.9.9.0/24 as 65001; passive; ipv4 { import none; export none; }; }
`;
    writeFileSync(join(own, 'other.conf'), config);
    const argv = ['bird', '-f', '-c', join(own, 'other.conf'), '-s', join(own, 'other.ctl')];
    const child = spawn('ip', ['netns', 'exec', cluster.netns('node1'), ...argv], { stdio: 'ignore' });
    const other = identify(child.pid ?? 0) as ProcessId;
    t.after(async () => {
      await killNow([other]);
      rmSync(own, { recursive: true });
    });
    await until(LIMIT, () => (existsSync(join(own, 'other.ctl')) ? [] : ['it does not run']));
    await cluster.start(['node1']);
    const socket = cluster.lab.paths.node('node1').agentSocket;
    const line = `another program listens on port 179, where this node's BIRD should: ${argv.join(' ')} (process ${other.pid}); stop it, or set listenPort in the BGPConfiguration`;
    await until(LIMIT, async () => {
      const { problems } = await askAgent(socket, { op: 'status' });
      const texts = problems.map(problemText);
      return texts.includes(line) ? [] : [`${line} is not in ${texts}`];
    });
    assert.ok((await labStatus(cluster.lab)).problems.includes(`node1: ${line}`));
    assert.ok(isAlive(other));
    await killNow([other]);
    await settled(cluster);
  });
});
