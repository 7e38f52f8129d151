import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { askAgent } from '../../../src/agent/ask.ts';
import { labStatus } from '../../../src/lab/inspect/status.ts';
import { problemText } from '../../../src/problem.ts';
import { NO_KERNEL } from '../../state/namespace.ts';
import { BgpCluster, until } from './bgp-cluster.ts';

const LIMIT = 60_000;

/** The warnings shown in each place a user may look. */
async function shown(cluster: BgpCluster): Promise<(readonly string[])[]> {
  const socket = cluster.lab.paths.node('node1').agentSocket;
  return [
    (await cluster.bgpStatus('node1')).warnings,
    (await askAgent(socket, { op: 'status' })).problems.map(problemText),
    (await labStatus(cluster.lab)).problems,
  ];
}

/** Waits until every one of `texts` is shown everywhere. */
async function untilShown(cluster: BgpCluster, ...texts: string[]): Promise<void> {
  await until(LIMIT, async () => {
    const all = await shown(cluster);
    return texts.flatMap((text) =>
      all.filter((texts) => !texts.some((each) => each.includes(text))).map((texts) => `${text} in ${texts}`),
    );
  });
}

const MESH = { kind: 'BGPConfiguration', metadata: { name: 'default' } };
const ALL = { kind: 'BGPPeer', metadata: { name: 'all' }, spec: { peerSelector: 'all()' } };

test('problems of BGP are reported', { skip: NO_KERNEL, timeout: 300_000 }, async (t) => {
  await using cluster = await BgpCluster.up(2);
  await cluster.established(() => 1, 0);
  assert.deepEqual(await shown(cluster), [[], [], []]);
  const reasons = async () => (await cluster.bgpStatus('node1')).sessions.map(({ reason }) => reason);

  await t.test('the type of a session whose BGPPeer is added to the mesh and removed', async () => {
    assert.deepEqual(await reasons(), ['node-to-node mesh']);
    await cluster.apply(ALL);
    await until(LIMIT, async () => (await reasons()).filter((reason) => reason !== 'global'));
    await cluster.delete('BGPPeer', 'all');
    await until(LIMIT, async () => (await reasons()).filter((reason) => reason !== 'node-to-node mesh'));
  });

  await t.test('a node without any session', async () => {
    await cluster.apply({ ...MESH, spec: { nodeToNodeMeshEnabled: false } });
    await untilShown(cluster, 'this node has no BGP session: the node-to-node mesh is off');
    const spec = { bgp: { routeReflectorClusterID: '244.0.0.7' } };
    await cluster.apply({ kind: 'Node', metadata: { name: 'node1' }, spec }, { ...MESH, spec: {} });
    await untilShown(cluster, 'routeReflectorClusterID 244.0.0.7 keeps it out of the node-to-node mesh');
    await cluster.apply({ kind: 'Node', metadata: { name: 'node1' }, spec: {} });
    await cluster.established(() => 1, 0);
    assert.deepEqual(await shown(cluster), [[], [], []]);
  });

  await t.test('a password that is missing, readable by others, present, changed', async () => {
    const password = { secretKeyRef: { name: 'late', key: 'pw' } };
    await cluster.apply({
      kind: 'BGPPeer',
      metadata: { name: 'secretive' },
      spec: { node: 'node1', peerIP: '172.30.0.1', asNumber: 65001, password },
    });
    await untilShown(cluster, 'BGPPeer secretive: no session with 172.30.0.1', 'secret late/pw: ENOENT');
    const folder = join(cluster.lab.paths.node('node1').agent.state, 'secrets', 'late');
    const file = join(folder, 'pw');
    const runs = (text: string) => () =>
      readFileSync(cluster.birdFiles('node1').config, 'utf8').includes(text) ? [] : [`no ${text}`];
    mkdirSync(folder, { recursive: true });
    writeFileSync(file, 'first\n', { mode: 0o644 });
    await untilShown(cluster, 'chmod 600');
    chmodSync(file, 0o600);
    await until(LIMIT, runs('password "first";'));
    await until(LIMIT, async () => (await cluster.bgpStatus('node1')).warnings);
    writeFileSync(file, 'second\n');
    await until(LIMIT, runs('password "second";'));
    await until(LIMIT, async () => {
      // This restarts BIRD.
      const sessions = await cluster.bgpStatus('node1').then(
        (status) => status.sessions,
        () => [],
      );
      return sessions.some(({ address, state }) => address === '172.30.0.1' && state === 'start')
        ? []
        : sessions.map(({ address, state }) => `${address} ${state}`);
    });
  });
});
