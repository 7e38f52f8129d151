import assert from 'node:assert/strict';
import { test } from 'node:test';
import { NO_HOST } from '../../src/cluster/host.ts';
import { NO_RESOURCES } from '../../src/cluster/resources.ts';
import { parseIp } from '../../src/ip/address.ts';
import { parseCidr } from '../../src/ip/cidr.ts';
import { problemText } from '../../src/problem.ts';
import { factsOf, type Plan } from '../backends/cluster.ts';
import { NO_KERNEL } from '../state/namespace.ts';
import { type Pair, RoutedPod, twoNodes } from '../wiring/routed-node.ts';
import { ask, Server } from './talk.ts';

// What never leads to a pod, whatever its host ports say: ports and addresses that turn out to be the node's
// own, or a service's, only when the pod runs already.

const PLAN: Plan = { size: 2, families: [4, 6], backend: { Type: 'host-gw' }, networks: 1 };
const AT = factsOf(PLAN, 0).self.underlay.addresses;

for (const wiring of ['bridge', 'routed'] as const) {
  test(`${wiring}: a port that becomes the node’s own no longer leads to a pod`, {
    skip: NO_KERNEL,
    timeout: 60_000,
  }, async () => {
    await using pair = await twoNodes(PLAN, { wiring });
    const [node] = pair.nodes;
    using pod = new RoutedPod(`own-${wiring}`);
    using _pod = await Server.start(pod.name, 'pod', 80);
    using _host = await Server.start(node.namespace.name, 'host', 9179);
    // From now on it may complain: the port of VXLAN is one that no ADD would have accepted.
    await node.change(() => ({}));
    const udp = { protocol: 'udp', containerPort: 80 };
    const tcp = { protocol: 'tcp', containerPort: 80 };
    await node.add(
      pod,
      {},
      {
        portMappings: [
          { ...udp, hostPort: 9472 },
          { ...udp, hostPort: 8472 },
          { ...tcp, hostPort: 9179 },
          { ...tcp, hostPort: 9178 },
        ],
      },
    );
    await node.running.settled(10_000);
    const answers = (protocol: 'tcp' | 'udp', port: number) => labels(pair, protocol, AT, port);
    assert.deepEqual(await answers('udp', 9472), ['pod', 'pod']);
    assert.deepEqual(await answers('tcp', 9179), ['pod', 'pod']);
    const other = await answers('udp', 8472);
    assert.ok(!other.includes('pod'), 'VXLAN’s port is the node’s own with every backend');

    await node.change(({ network }) => ({
      network: {
        ...network,
        backend: { type: 'vxlan', options: { Port: 9472 } },
        reservedHostPorts: [{ first: 9179, last: 9200 }],
      },
    }));
    assert.ok(!(await answers('udp', 9472)).includes('pod'), 'the tunnel’s');
    assert.deepEqual(await answers('tcp', 9179), ['host', 'host'], 'reserved');
    assert.deepEqual(await answers('tcp', 9178), ['pod', 'pod'], 'the pod’s other port');
    const title = `default/${pod.name}`;
    const problems = node.problems.filter(({ id }) => id === 'host-ports-overruled');
    assert.deepEqual(problems.map(problemText), [
      'host ports do not lead to their pods: ' +
        `${title}: 9472/udp carries the pod network’s own traffic, ` +
        `${title}: 8472/udp carries the pod network’s own traffic, ` +
        `${title}: 9179/tcp is reserved by the network’s configuration; ` +
        'recreate the pods with other host ports',
    ]);
  });
}

test('the table itself keeps the node’s own ports, even while elements of pods are left in it', {
  skip: NO_KERNEL,
  timeout: 60_000,
}, async () => {
  await using pair = await twoNodes(PLAN, { wiring: 'bridge' });
  const [node] = pair.nodes;
  using pod = new RoutedPod('left');
  using _pod = await Server.start(pod.name, 'pod', 80);
  await node.add(pod);
  await node.running.settled(10_000);
  node.running[Symbol.dispose]();
  const to = pod.addresses[0];
  for (const port of [4789, 8472, 9000])
    node.namespace.run('nft', `add element ip flatnet-host-ports ports { udp . ${port} : ${to} . 80 }`);
  const [four] = Object.values(AT);
  for (const port of [4789, 8472])
    assert.ok(!(await labels(pair, 'udp', [four ?? ''], port)).includes('pod'));
  assert.deepEqual(await labels(pair, 'udp', [four ?? ''], 9000), ['pod']);
});

test('with kube-proxy in IPVS mode, services keep their ports', {
  skip: NO_KERNEL,
  timeout: 60_000,
}, async (t) => {
  await using pair = await twoNodes(PLAN, { wiring: 'bridge' });
  const [node, other] = pair.nodes;
  const services = ['10.96.0.9', 'fd96::9'];
  node.namespace.ip('link set lo up');
  // A bridge without ports stands for kube-proxy's dummy device, which this kernel may lack.
  node.namespace.ip('link add kube-ipvs0 type bridge');
  node.namespace.ip('link set kube-ipvs0 up');
  node.namespace.ip(`address add ${services[0]}/32 dev kube-ipvs0`);
  node.namespace.ip(`address add ${services[1]}/128 dev kube-ipvs0 nodad`);
  other.namespace.ip(`route add ${services[0]} via ${AT[4]}`);
  other.namespace.ip(`-6 route add ${services[1]} via ${AT[6]}`);
  using pod = new RoutedPod('ipvs');
  using near = new RoutedPod('ipvs-near');
  using _pod = await Server.start(pod.name, 'pod', 80);
  using _host = await Server.start(node.namespace.name, 'service', 8080);
  await node.add(near);
  await node.add(
    pod,
    {},
    {
      portMappings: [
        { hostPort: 8080, containerPort: 80 },
        { hostPort: 8081, containerPort: 80, hostIP: services[0] },
      ],
    },
  );
  await node.running.settled(10_000);
  assert.deepEqual(await labels(pair, 'tcp', services, 8080), ['pod', 'pod'], 'the kernel calls them local');
  const host = { ...NO_HOST, addresses: Object.values(AT).map((ip) => parseIp(`${ip}`)) };

  await t.test('as their addresses are on kube-proxy’s device', async () => {
    const held = services.map(parseIp);
    await node.change(({ self }) => ({
      self: { ...self, host: { ...host, addresses: [...host.addresses, ...held], services: held } },
    }));
    assert.deepEqual(await labels(pair, 'tcp', services, 8080), ['service', 'service']);
    assert.deepEqual(await labels(pair, 'tcp', AT, 8080), ['pod', 'pod']);
    const [fromPod, fromNode] = await Promise.all(
      [near.name, node.namespace.name].map((netns) => ask(netns, ['tcp', services[0] ?? '', 8080])),
    );
    assert.match(`${fromPod}`, /^service /);
    assert.match(`${fromNode}`, /^service /);
    assert.deepEqual(await labels(pair, 'tcp', services.slice(0, 1), 8081), ['ECONNREFUSED'], 'by hostIP');
  });
  await t.test('as they are in a network of Services, unless the node is in it too', async () => {
    const serviceCidrs = ['10.96.0.0/12', '10.96.0.0/16', 'fd96::/112', '172.16.0.0/16'].map(parseCidr);
    const bgpConfiguration = { ...NO_RESOURCES.bgpConfiguration, serviceCidrs };
    await node.change(({ self }) => ({
      self: { ...self, host },
      resources: { ...NO_RESOURCES, bgpConfiguration },
    }));
    assert.deepEqual(await labels(pair, 'tcp', services, 8080), ['service', 'service']);
    assert.deepEqual(await labels(pair, 'tcp', AT, 8080), ['pod', 'pod']);
  });
  assert.deepEqual(node.problems, []);
});

/** Who answers the other node at these addresses. */
async function labels(
  { nodes: [, other] }: Pair,
  protocol: 'tcp' | 'udp',
  addresses: object,
  port: number,
): Promise<string[]> {
  const answers = await ask(
    other.namespace.name,
    ...Object.values(addresses).map((address) => [protocol, `${address}`, port] as const),
  );
  return answers.map((answer) => answer.replace(/ [0-9a-f.:]+$/, ''));
}
