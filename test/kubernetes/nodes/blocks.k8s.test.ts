import assert from 'node:assert/strict';
import { before, describe, test } from 'node:test';
import { FAMILIES } from '../../../src/ip/address.ts';
import { forSuite } from '../api-server.ts';
import { assertAllIsWell, comeAndGo, losePower, upgradeAgents } from './chores.ts';
import { KubeletCluster, type Pod } from './cluster.ts';
import { NO_KUBELETS } from './component.ts';
import { podNetworks } from './networks.ts';
import { answers, assertAllReachAll, CURL } from './traffic.ts';
import { deployment, serverPod, service } from './workload.ts';

const CALICO_BGP = {
  ...podNetworks(FAMILIES),
  addresses: 'blocks',
  wiring: 'routed',
  Backend: { Type: 'bgp', ipipMode: 'Never' },
};

// In this order: what one does, the next finds.
describe('three kubelets with blocks, routed pods and BGP, in both families', { skip: NO_KUBELETS }, () => {
  const suite = forSuite();
  let cluster: KubeletCluster;
  let web: readonly Pod[] = [];
  before(async () => {
    cluster = await KubeletCluster.start(suite, { network: CALICO_BGP, families: FAMILIES });
    await cluster.plane.apply(deployment('web', 6), service('web', 30080));
    web = await cluster.pods('web', 6);
  });

  test('every pod reaches every pod by its own addresses, and every node', async () => {
    for (const { ips } of web) assert.equal(ips.length, 2);
    await assertAllReachAll(cluster, web);
    await assertAllIsWell(cluster);
  });

  test('Services and host ports, in both families', async () => {
    const { plane } = cluster;
    await plane.apply(serverPod('port', { node: 'node2', hostPort: 9090 }));
    await cluster.pods('port', 1);
    const path = 'jsonpath={.spec.clusterIPs[*]}';
    const services = (await plane.kubectl('get', 'service', 'web', '-o', path)).split(' ');
    assert.equal(services.length, 2);
    const at = (ip: string, port: number) =>
      `http://${ip.includes(':') ? `[${ip}]` : ip}:${port}/cgi-bin/peer`;
    for (const node of cluster.nodes) {
      for (const ip of services) await answers(() => node.exec(...CURL, at(ip, 80)), /^web-/);
      for (const ip of node.addresses) await answers(() => plane.outside(...CURL, at(ip, 30080)), /^web-/);
    }
    for (const ip of cluster.node('node2').addresses) {
      assert.match(await plane.outside(...CURL, at(ip, 9090)), /^port (172\.31\.77\.10|fd00:31:77::10)\n/);
      assert.match(await cluster.node('node1').exec(...CURL, at(ip, 9090)), /^port /);
      assert.match(await cluster.node('node2').exec(...CURL, at(ip, 9090)), /^port /);
    }
    await plane.kubectl('delete', 'pod', 'port');
  });

  test('agents are upgraded one by one, and one is killed: no packet is lost', async (t) => {
    await upgradeAgents(t, cluster, web);
  });

  test('a node loses power: its pods return, and nothing of the old ones is left', async () => {
    web = await losePower(cluster, cluster.node('node2'), web);
  });

  test('pods come and go: no address, device or rule is left, and blocks hold what pods have', async () => {
    web = await comeAndGo(cluster, 30);
    // Agents release what pods had a moment after the pods are gone.
    const sound = /^6 blocks of 3 nodes, 6 addresses in use .*found 0 errors and 0 warnings\.\n$/s;
    await answers(() => cluster.flatnet('ipam', 'check'), sound);
  });
});
