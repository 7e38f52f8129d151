import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import type { AgentOptions } from '../../src/agent/options.ts';
import { agentReady, agentStatus, stopAgent } from '../../src/lab/machine/agent.ts';
import { flatnetProgram } from '../../src/lab/machine/programs.ts';
import { withStore } from '../../src/lab/machine/store.ts';
import { writeJson } from '../../src/lab/record/files.ts';
import { labEnvironment } from '../../src/lab/record/lab.ts';
import { netnsPath } from '../../src/linux/netns.ts';
import { spawnDetached } from '../../src/linux/process.ts';
import { fileOf } from '../../src/transfer/contents.ts';
import { exportStore } from '../../src/transfer/export.ts';
import { NO_KERNEL } from '../state/namespace.ts';
import { eventually, NO_ETCD } from '../store/servers.ts';
import { Cluster, type TestNode } from './cluster.ts';
import { EtcdMembers } from './etcd-members.ts';
import { NETWORKS } from './networks.ts';
import { RunningPing } from './running-ping.ts';
import { settled } from './settle.ts';

/** The nodes that only the store knows cause problems of their own. */
const isOfStore = ({ id }: { id: string }): boolean => /^(store|lease|subnets)-/.test(id);

/** Milliseconds within which agents hear of a change, although the member that they asked last is gone. */
const HEARD = 20_000;

test('a cluster moves to three etcd members, which are killed and cut off one by one: no packet is lost', {
  skip: NO_KERNEL || NO_ETCD,
}, async (t) => {
  await using cluster = await Cluster.up(2, NETWORKS.vxlan);
  const { lab } = cluster;
  const nodes = [...cluster.nodes.values()];
  await settled(cluster);
  await using etcd = await EtcdMembers.start(lab.name);
  const [one, two] = nodes.map(({ pods }) => pods[0]?.record);
  assert.ok(one?.addresses[0] && two?.addresses[0]);
  const pings = [
    new RunningPing(t, cluster.podNetns(one), two.addresses[0]),
    new RunningPing(t, cluster.podNetns(two), one.addresses[0]),
  ];

  const { contents, leftOut } = await withStore(lab, exportStore);
  assert.deepEqual(leftOut, []);
  const file = join(lab.paths.root, 'exported.json');
  writeFileSync(file, JSON.stringify(fileOf(contents)));
  const imported = JSON.parse(await etcd.admin('import', file)) as { outcome: string }[];
  assert.ok(imported.some(({ outcome }) => outcome === 'created'));
  // One after the other: the first one finds the other where it was, although its agent has not come yet.
  for (const node of nodes) {
    await stopAgent(lab, node.name, 'stop');
    await start(node);
  }
  for (const { name, subnets } of nodes) {
    const status = await agentReady(lab, name);
    assert.deepEqual(status.subnets, subnets, 'the lease has moved');
    assert.deepEqual(status.problems, []);
  }

  let foreign = 50;
  for (const member of etcd.names) {
    await etcd.kill(member);
    await newPods();
    await heardOf(++foreign, member);
    etcd.restart(member);
  }
  for (const member of etcd.names) {
    etcd.cut(member);
    await newPods();
    await heardOf(++foreign, member);
    etcd.mend(member);
  }
  for (const { name } of nodes) {
    const status = await eventually(async () => {
      const now = await agentStatus(lab, name);
      return now?.store.connected && !now.problems.some(isOfStore) ? now : undefined;
    }, HEARD);
    assert.equal(status.store.connected, true);
  }
  for (const ping of pings) {
    const { sent, lost, seconds } = await ping.end();
    t.diagnostic(`${sent} packets in ${seconds.toFixed(1)} s, ${lost.length} lost`);
    assert.deepEqual(lost, []);
  }

  /** As the lab does, but with another store. */
  async function start({ name }: TestNode): Promise<void> {
    const { agentConfig, agentLog, agentProcess } = lab.paths.node(name);
    const options = JSON.parse(readFileSync(agentConfig, 'utf8')) as AgentOptions;
    writeJson(agentConfig, { ...options, store: etcd.options });
    const id = await spawnDetached(flatnetProgram('agent', '--config', agentConfig), {
      logFile: agentLog,
      env: labEnvironment(lab.name),
      netns: netnsPath(cluster.netns(cluster.nodes.get(name) ?? assert.fail(name))),
    });
    writeJson(agentProcess, id);
    await agentReady(lab, name);
  }

  /** On each node, a new pod reaches the other node's first one. */
  async function newPods(): Promise<void> {
    for (const node of nodes) {
      const { record } = await cluster.addPod(node);
      const [other] = nodes.find((each) => each !== node)?.pods ?? [];
      const argv = ['netns', 'exec', cluster.podNetns(record), 'ping', '-c', '1', '-W', '5'];
      execFileSync('ip', [...argv, other?.record.addresses[0] ?? ''], { stdio: 'pipe' });
    }
  }

  /** Both agents hear of a node that joins by way of the other members. */
  async function heardOf(number: number, without: string): Promise<void> {
    const begin = performance.now();
    const place = (): Promise<string | undefined> =>
      etcd.admin('place', `${number}`, without).catch(() => undefined);
    await eventually(place, HEARD);
    const peers = 1 + number - 50;
    for (const { name } of nodes) {
      await eventually(async () => (await agentStatus(lab, name))?.peers === peers, HEARD);
    }
    const seconds = (performance.now() - begin) / 1000;
    t.diagnostic(`without ${without}, node${number} is known after ${seconds.toFixed(1)} s`);
  }
});
