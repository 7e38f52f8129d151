import assert from 'node:assert/strict';
import { test } from 'node:test';
import { agentStatus } from '../../../src/lab/machine/agent.ts';
import { CONFIG_MAPS, NODES } from '../../../src/store/kubernetes/kinds.ts';
import { NO_API_SERVER } from '../../kubernetes/api-server.ts';
import { NO_KERNEL } from '../../state/namespace.ts';
import { applyCrds } from '../../store/kubernetes/crds.ts';
import { agentToken, without } from '../../store/kubernetes/rights.ts';
import { KubernetesCluster, NETWORK } from './cluster.ts';

/** Waits until condition, status and an Event of a node say why it takes no pods. */
async function says(
  cluster: KubernetesCluster,
  node: string,
  reason: string,
  cause: RegExp,
  isLasting = true,
): Promise<void> {
  const message = await cluster.untilCondition(node, reason);
  assert.match(message, cause);
  if (!isLasting) return;
  assert.equal((await agentStatus(cluster.lab, node))?.notReady, message);
  assert.equal(await cluster.untilEvent(node, new RegExp(`^${reason}: `)), `${reason}: ${message}`);
}

test('a node that takes no pods says why in its condition, in an Event and in its status', {
  skip: NO_API_SERVER || NO_KERNEL,
  timeout: 600_000,
}, async (t) => {
  const names = ['node1', 'node2', 'node3', 'node4', 'node5'];
  const cluster = await KubernetesCluster.start(t, names.length);
  const { admin } = cluster;
  const each = (work: (name: string) => Promise<unknown>) => Promise.all(names.map(work));
  for (const [i, name] of names.entries()) await cluster.register(name, `10.244.${i + 1}.0/24`);

  await t.test('no or a bad configuration', async () => {
    await admin.delete(CONFIG_MAPS, { namespace: 'kube-flannel', name: 'kube-flannel-cfg' });
    await cluster.startAgent('node1');
    await says(cluster, 'node1', 'NoNetwork', /ConfigMap kube-flannel\/kube-flannel-cfg/);
    await cluster.configure('{"Network": "10.244.0.0/16", "Backend": {"Type": "wireless"}}');
    await cluster.until('node1', ({ notReady }) => /Backend\.Type.*wireless/.test(notReady ?? ''));
    await cluster.configure(JSON.stringify(NETWORK));
    await cluster.untilCondition('node1', 'FlatnetIsUp');
  });

  await t.test('no underlay; a foreign device; a foreign network; no podCIDR any more', async () => {
    const vxlan = ['type', 'vxlan', 'id', '1', 'dev', 'eth0', 'dstport', '8472', 'nolearning'];
    await cluster.run('node3', 'ip', 'link', 'delete', 'flannel.1');
    await cluster.run('node3', 'ip', 'link', 'add', 'foreign', ...vxlan);
    await cluster.run('node3', 'ip', 'link', 'set', 'foreign', 'up');
    await cluster.startAgent('node2', { iface: 'eth7' });
    for (const name of ['node3', 'node4', 'node5']) await cluster.startAgent(name);
    for (const name of ['node4', 'node5']) await cluster.untilCondition(name, 'FlatnetIsUp');
    await cluster.run('node4', 'ip', 'link', 'add', 'docker9', 'type', 'veth', 'peer', 'name', 'docker9p');
    await cluster.run('node4', 'ip', 'address', 'add', '10.244.200.1/24', 'dev', 'docker9');
    await cluster.run('node4', 'ip', 'link', 'set', 'docker9', 'up');
    await admin.delete(NODES, { name: 'node5' });
    await cluster.register('node5');
    const lost = /Node node5: spec\.podCIDR is not set.*--cluster-cidr=10\.244\.0\.0\/16/;
    await Promise.all([
      says(cluster, 'node2', 'NoUnderlay', /eth7.*eth0/),
      says(cluster, 'node3', 'NodeNotSetUp', /flannel\.1.*(EEXIST|EADDRINUSE|exists)/),
      says(cluster, 'node4', 'PodsNetworkInUse', /10\.244\.0\.0\/16.*overlaps 10\.244\.200\.0\/24.*docker9/),
      says(cluster, 'node5', 'SubnetsLost', lost),
    ]);
    assert.equal((await cluster.condition('node1')).reason, 'FlatnetIsUp');
  });

  await t.test('all is well again once the causes are gone', async () => {
    await cluster.restartAgent('node2');
    await cluster.run('node3', 'ip', 'link', 'delete', 'foreign');
    await cluster.run('node4', 'ip', 'link', 'delete', 'docker9');
    await admin.delete(NODES, { name: 'node5' });
    await cluster.register('node5', '10.244.5.0/24');
    await each((name) => cluster.untilCondition(name, 'FlatnetIsUp'));
  });

  await t.test(
    'a condition that others overwrite, or that goes with its Node, is written again',
    async () => {
      const conditions = [
        { type: 'NetworkUnavailable', status: 'True', reason: 'CalicoIsDown', message: 'x' },
      ];
      await admin.patch(
        NODES,
        { name: 'node1' },
        'strategic',
        { status: { conditions } },
        { subresource: 'status' },
      );
      await admin.delete(NODES, { name: 'node2' });
      await cluster.register('node2', '10.244.2.0/24');
      for (const name of ['node1', 'node2']) await cluster.untilCondition(name, 'FlatnetIsUp');
    },
  );

  await t.test('subnets that an agent remembers, and may not confirm', async () => {
    await agentToken(admin, without('ClusterRole', 'nodes', 'list'));
    await cluster.restartAgent('node1');
    await says(
      cluster,
      'node1',
      'SubnetsUnconfirmed',
      /cannot list resource "nodes".*the verb list on nodes/,
    );
    await agentToken(admin);
    await cluster.untilCondition('node1', 'FlatnetIsUp');
  });
});

test('a router without BIRD, or without its peers, says so in its condition', {
  skip: NO_API_SERVER || NO_KERNEL,
  timeout: 600_000,
}, async (t) => {
  const network = {
    network: '10.244.0.0/16',
    addresses: 'blocks',
    wiring: 'routed',
    backend: { type: 'bgp', ipipMode: 'Never' },
  };
  const cluster = await KubernetesCluster.start(t, 3, undefined);
  await applyCrds(cluster.admin);
  await cluster.configure(JSON.stringify(network));
  for (const name of ['node1', 'node2', 'node3']) await cluster.register(name);
  await cluster.startAgent('node1');
  await cluster.until('node1', ({ ready }) => ready);
  await cluster.untilCondition('node1', 'FlatnetIsUp');
  const paths = { ...cluster.lab.paths.node('node3').agent, birdHolder: '/run/nobody/bird.sock' };
  await cluster.startAgent('node3', { paths });
  await says(cluster, 'node3', 'CompanionNotReady', /bird/i);
  await cluster.run('node1', 'ip', 'link', 'set', 'eth0', 'down');
  await cluster.startAgent('node2');
  await says(cluster, 'node2', 'SessionsOpening', /node1, 172\./, false);
  await cluster.untilCondition('node2', 'FlatnetIsUp');
});
