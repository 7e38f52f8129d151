import assert from 'node:assert/strict';
import { before, describe, test } from 'node:test';
import { eventually } from '../../store/servers.ts';
import { forSuite } from '../api-server.ts';
import { KubeletCluster, type Pod } from './cluster.ts';
import { NO_KUBELETS } from './component.ts';
import { POD_NETWORKS } from './control-plane.ts';
import { leftovers } from './leftovers.ts';
import { assertAllReachAll, assertNoneLost, CURL, pingsBetween } from './traffic.ts';
import { deployment, serverPod, service } from './workload.ts';

const [Network, IPv6Network] = POD_NETWORKS;
const CALICO_BGP = {
  Network,
  EnableIPv6: true,
  IPv6Network,
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
    cluster = await KubeletCluster.start(suite, { network: CALICO_BGP, ipv6: true });
    await cluster.plane.apply(deployment('web', 6), service('web', 30080));
    web = await cluster.pods('web', 6);
  });

  const allIsWell = async (): Promise<void> => {
    for (const node of cluster.nodes) {
      assert.deepEqual((await node.status()).problems, [], node.name);
      assert.equal(await node.diff(), '[]', node.name);
      assert.deepEqual(await leftovers(node), [], node.name);
    }
  };

  test('every pod reaches every pod by its own addresses, and every node', async () => {
    for (const { ips } of web) assert.equal(ips.length, 2);
    await assertAllReachAll(cluster, web);
    await allIsWell();
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
      for (const ip of services) assert.match(await node.exec(...CURL, at(ip, 80)), /^web-/);
      for (const ip of node.addresses) assert.match(await plane.outside(...CURL, at(ip, 30080)), /^web-/);
    }
    for (const ip of cluster.node('node2').addresses) {
      assert.match(await plane.outside(...CURL, at(ip, 9090)), /^port (172\.31\.77\.10|fd00:31:77::10)\n/);
      assert.match(await cluster.node('node1').exec(...CURL, at(ip, 9090)), /^port /);
      assert.match(await cluster.node('node2').exec(...CURL, at(ip, 9090)), /^port /);
    }
    await plane.kubectl('delete', 'pod', 'port');
  });

  test('agents are upgraded one by one, and one is killed: no packet is lost', async (t) => {
    const pings = await pingsBetween(t, cluster, web);
    for (const node of cluster.nodes) await node.restartAgent();
    await cluster.node('node1').restartAgent('SIGKILL');
    await assertNoneLost(pings);
    await allIsWell();
  });

  test('a node loses power: its pods return, and nothing of the old ones is left', async () => {
    const node = cluster.node('node2');
    await node.crash();
    await node.boot();
    await node.untilReady();
    const before = web.flatMap((pod) => (pod.node === node.name ? pod.ips : []));
    await eventually(async () => {
      web = await cluster.pods('web', 6);
      return web.every(({ ips }) => !ips.some((ip) => before.includes(ip)));
    }, 60_000);
    await assertAllReachAll(cluster, web);
    await allIsWell();
  });

  test('pods come and go: no address, device or rule is left, and blocks hold what pods have', async () => {
    await cluster.plane.apply(deployment('web', 30));
    await cluster.pods('web', 30);
    await cluster.plane.apply(deployment('web', 3));
    web = await cluster.pods('web', 3);
    await eventually(async () => {
      const all = await Promise.all(cluster.nodes.map((node) => node.status()));
      return all.flatMap(({ pods }) => pods).length === 3;
    }, 30_000);
    await allIsWell();
    assert.match(
      await cluster.flatnet('ipam', 'check'),
      /^6 blocks of 3 nodes, 6 addresses in use .*found 0 errors and 0 warnings\.\n$/s,
    );
  });
});
