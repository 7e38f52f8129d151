import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { KubernetesClient } from '../../src/kubernetes/api/client.ts';
import { asJson, type Json } from '../../src/kubernetes/api/object.ts';
import { NODES } from '../../src/store/kubernetes/kinds.ts';
import { conditionOf } from '../../src/store/kubernetes/node/patch.ts';
import { NO_REFERENCE } from '../cni/reference.ts';
import { ApiServer, NO_API_SERVER } from '../kubernetes/api-server.ts';
import { eventually } from '../store/servers.ts';
import { FlannelCluster, type FlannelNode } from './flannel-cluster.ts';
import { kubernetesStore } from './kubernetes-store.ts';
import { pingsBetween } from './pings.ts';
import { FLANNELD } from './programs.ts';
import { assertAllAreFreed, assertNoneLost, comeBack, goOver } from './there-and-back.ts';

const skip = NO_API_SERVER || FLANNELD.missing || NO_REFERENCE;
const FLANNELS = 'flannel.alpha.coreos.com/';

const NETWORKS = {
  vxlan: { Network: '10.244.0.0/16', Backend: { Type: 'vxlan' } },
  'host-gw': { Network: '10.244.0.0/16', EnableNFTables: true, Backend: { Type: 'host-gw' } },
};

for (const [name, network] of Object.entries(NETWORKS)) {
  test(`with the Kubernetes API as the store, nodes go from flannel to flatnet and back under ping (${name})`, {
    skip,
    timeout: 400_000,
  }, async (t) => {
    const server = await ApiServer.start(t);
    const admin = server.client(t);
    await using cluster = await FlannelCluster.start(3, network, 'cbr0', kubernetesStore(server, admin));
    const { nodes } = cluster;
    for (const node of nodes) for (let i = 0; i < 2; i++) node.addPod();
    const pings = pingsBetween(t, cluster);
    for (const ping of pings) await ping.answered();
    const before = await Promise.all(nodes.map((node) => flannels(admin, node)));
    const [macs, leases] = [nodes.map((node) => node.tunnelMac()), nodes.map((node) => node.subnet())];
    assert.deepEqual(leases, ['10.244.1.1/24', '10.244.2.1/24', '10.244.3.1/24']);

    for (const [i, node] of nodes.entries()) {
      await goOver(node);
      assert.deepEqual(await flannels(admin, node), before[i]);
      await untilCondition(admin, node, 'FlatnetIsUp');
    }
    for (const [i, node] of nodes.entries()) {
      node.installFlannelsPlugins();
      await node.startFlanneld();
      await comeBack(node);
      assert.deepEqual(await flannels(admin, node), before[i]);
    }

    await assertNoneLost(t, pings);
    assert.deepEqual(
      [nodes.map((node) => node.tunnelMac()), nodes.map((node) => node.subnet())],
      [macs, leases],
    );
    assertAllAreFreed(nodes);
  });
}

async function annotations(admin: KubernetesClient, { name }: FlannelNode): Promise<Json> {
  return asJson((await admin.get(NODES, { name })).metadata.annotations);
}

/** flannel's annotations of a Node. */
async function flannels(admin: KubernetesClient, node: FlannelNode): Promise<Json> {
  const all = Object.entries(await annotations(admin, node));
  return Object.fromEntries(all.filter(([key]) => key.startsWith(FLANNELS)));
}

async function untilCondition(admin: KubernetesClient, node: FlannelNode, reason: string): Promise<void> {
  let last: Json | undefined;
  const holds = async (): Promise<boolean> => {
    last = conditionOf(await admin.get(NODES, node), 'NetworkUnavailable');
    return last?.reason === reason && last.status === 'False';
  };
  await eventually(holds, 20_000).catch(() => assert.fail(`${node.name} is ${JSON.stringify(last)}`));
}
