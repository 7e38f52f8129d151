import assert from 'node:assert/strict';
import { before, describe, test } from 'node:test';
import { pause } from '../../../src/async/pause.ts';
import { eventually } from '../../store/servers.ts';
import { forSuite } from '../api-server.ts';
import { addressesOn, assertAllIsWell, comeAndGo, losePower, upgradeAgents } from './chores.ts';
import { KubeletCluster, type Pod } from './cluster.ts';
import { NO_KUBELETS } from './component.ts';
import { answers, assertAllReachAll, assertNoneLost, CURL, pingsBetween, request } from './traffic.ts';
import { deployment, PORT, serverPod, service } from './workload.ts';

const NETWORK = '10.244.0.0/16';
const VXLAN = { Network: NETWORK, Backend: { Type: 'vxlan' } };
const HOST_GW = { Network: NETWORK, Backend: { Type: 'host-gw' } };
/** Milliseconds without an API server. */
const OUTAGE = 120_000;

// In this order: what one does, the next finds.
describe('three kubelets whose podCIDRs are their subnets', { skip: NO_KUBELETS }, () => {
  const suite = forSuite();
  let cluster: KubeletCluster;
  let web: readonly Pod[] = [];
  before(async () => {
    cluster = await KubeletCluster.start(suite, { network: VXLAN });
    await cluster.plane.apply(deployment('web', 6), service('web', 30080));
    web = await cluster.pods('web', 6);
  });

  test('the network is available on all nodes, and every pod reaches every pod by its own address', async () => {
    const path = '{.items[*].status.conditions[?(@.type=="NetworkUnavailable")].reason}';
    const reasons = await cluster.plane.kubectl('get', 'nodes', '-o', `jsonpath=${path}`);
    assert.equal(reasons, 'FlatnetIsUp FlatnetIsUp FlatnetIsUp');
    await assertAllReachAll(cluster, web);
    await assertAllIsWell(cluster);
  });

  test('Services, from pods, nodes and outside', async () => {
    const { plane } = cluster;
    const ip = await plane.kubectl('get', 'service', 'web', '-o', 'jsonpath={.spec.clusterIP}');
    for (const { name } of web) await answers(() => cluster.exec(name, 'sh', '-c', request(ip, 80)), /^web-/);
    for (const node of cluster.nodes) {
      await answers(() => node.exec(...CURL, `http://${ip}/cgi-bin/peer`), /^web-/);
      const outside = `http://${node.addresses[0]}:30080/cgi-bin/peer`;
      await answers(() => plane.outside(...CURL, outside), /^web-/);
    }
  });

  test('a host port: from outside, another node, the node itself, pods, and 127.0.0.1', async () => {
    const annotations = { 'kubernetes.io/egress-bandwidth': '8M' };
    await cluster.plane.apply(serverPod('port', { node: 'node2', hostPort: 9090, annotations }));
    const [pod] = await cluster.pods('port', 1);
    const [node1, node2] = [cluster.node('node1'), cluster.node('node2')];
    const [host = '', own = ''] = [node2.addresses[0], node1.addresses[0]];
    const url = (at: string) => `http://${at}:9090/cgi-bin/peer`;
    assert.match(await cluster.plane.outside(...CURL, url(host)), /^port 172\.31\.77\.10\n/);
    assert.match(await node1.exec(...CURL, url(host)), new RegExp(`^port (::ffff:)?${own}\n`));
    for (const at of [host, '127.0.0.1']) assert.match(await node2.exec(...CURL, url(at)), /^port /);
    for (const { name } of [...web, ...(pod ? [pod] : [])]) {
      assert.match(await cluster.exec(name, 'sh', '-c', request(host, 9090)), /^port /);
    }
  });

  test('what is wrong with a pod is an Event of it, which kubectl shows', async () => {
    await cluster.configure({ ...VXLAN, reservedHostPorts: [9090] });
    const describe = () => cluster.plane.kubectl('describe', 'pod', 'port');
    await answers(
      describe,
      /Warning +HostPortsOverruled .* flatnet\.dev\/agent +a host port does not lead to it/,
    );
    await cluster.configure(VXLAN);
    await assertAllIsWell(cluster);
  });

  test('a pod’s bandwidth', async () => {
    const [host = ''] = cluster.node('node2').addresses;
    const begin = performance.now();
    await cluster.plane.outside(...CURL, '-o', '/dev/null', `http://${host}:9090/megabyte`);
    const seconds = (performance.now() - begin) / 1000;
    assert.ok(seconds > 0.9, `8 Mbit at 8 Mbit/s took ${seconds.toFixed(2)} s`);
    await cluster.plane.kubectl('delete', 'pod', 'port');
    await assertAllIsWell(cluster);
  });

  test('agents are upgraded one by one, and one is killed: no packet is lost', async (t) => {
    await upgradeAgents(t, cluster, web);
  });

  test('another backend, under traffic', async (t) => {
    const pings = await pingsBetween(t, cluster, web);
    await cluster.configure(HOST_GW);
    for (const node of cluster.nodes) {
      await eventually(async () => (await node.status()).backend === 'host-gw', 120_000);
    }
    await assertAllReachAll(cluster, web);
    await assertNoneLost(pings);
  });

  test('the API server is away for two minutes: traffic goes on, containerd, kubelet and agent restart, and a new pod starts', async (t) => {
    const pings = await pingsBetween(t, cluster, web);
    const node = cluster.node('node3');
    const begin = performance.now();
    await cluster.plane.stopApiServer();
    await node.restartContainerd();
    await node.restartAgent('SIGKILL');
    const { ips: [target = ''] = [] } = web.find((pod) => pod.node === 'node1') ?? {};
    node.manifest('static', serverPod('static'));
    const {
      addresses: [address],
    } = await eventually(async () => {
      const { pods } = await node.status();
      return pods.find(({ name }) => name === 'static-node3');
    }, 120_000);
    assert.ok(address !== undefined);
    const within = await node.inPod(address);
    await eventually(() => node.tryIn(within, ...CURL, `http://${target}:${PORT}/cgi-bin/peer`));
    await pause(OUTAGE - (performance.now() - begin));
    await assertNoneLost(pings);
    await cluster.plane.startApiServer();
    await node.restartKubelet();
    const [seen] = await cluster.pods('static', 1);
    assert.deepEqual(seen?.ips, [address]);
    node.withdraw('static');
    await cluster.until('pods', (lines) => lines.every((line) => !line.startsWith('static')));
    await assertAllIsWell(cluster);
  });

  test('a node loses power: its pods return with new addresses, and nothing of the old ones is left', async () => {
    const node = cluster.node('node2');
    const before = addressesOn(node, web);
    web = await losePower(cluster, node, web);
    await eventually(async () => {
      const { pods } = await node.status();
      return pods.length === 2 && pods.every(({ addresses }) => !before.includes(addresses[0] ?? ''));
    }, 120_000);
  });

  test('pods come and go: no address, device or rule is left', async () => {
    web = await comeAndGo(cluster, 36);
  });

  test('a Node is deleted and returns with another podCIDR', async () => {
    const node = cluster.node('node3');
    const { subnets: before } = await node.status();
    await cluster.plane.kubectl('delete', 'node', node.name);
    await node.restartKubelet();
    await cluster.untilReady();
    const { subnets } = await eventually(async () => {
      const status = await node.status();
      return status.ready && `${status.subnets}` !== `${before}` && status;
    }, 120_000);
    const path = 'jsonpath={.spec.podCIDRs[*]}';
    assert.equal(await cluster.plane.kubectl('get', 'node', node.name, '-o', path), subnets.join(' '));
    await cluster.plane.apply(deployment('after', 3));
    await assertAllReachAll(cluster, await cluster.pods('after', 3));
  });
});
