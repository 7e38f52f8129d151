import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { AgentStatus } from '../../src/agent/status.ts';
import { parseIp } from '../../src/ip/address.ts';
import { parseCidr } from '../../src/ip/cidr.ts';
import { agentStatus, startAgent, stopAgent } from '../../src/lab/machine/agent.ts';
import { problemText } from '../../src/problem.ts';
import { Cluster, LAYOUT, type TestNode } from './cluster.ts';
import { putForeign } from './leases.ts';
import { NETWORKS } from './networks.ts';
import { settled } from './settle.ts';

/** Waits until a node's status is as it should be; fails with the last one. */
async function status(
  cluster: Cluster,
  { name }: TestNode,
  isRight: (status: AgentStatus) => boolean,
): Promise<AgentStatus> {
  let last: AgentStatus | undefined;
  for (let look = 0; look < 300; look++) {
    last = await agentStatus(cluster.lab, name);
    if (last && isRight(last)) return last;
    await sleep(20);
  }
  assert.fail(JSON.stringify(last, null, 1));
}

const says = (text: string) => (each: AgentStatus) =>
  each.problems.some((problem) => problemText(problem).includes(text));

function lease(subnet: string, ip: string, backend = 'vxlan') {
  const data = { 4: { VNI: 1, VtepMAC: '02:fe:00:00:00:01' } };
  return {
    name: ip,
    labels: {},
    addresses: { 4: parseIp(ip) },
    subnets: [parseCidr(subnet)],
    backend: { type: backend, data },
  };
}

for (const name of ['vxlan', 'host-gw'] as const) {
  test(`no key in the store takes a network of a node’s host away (${name})`, async () => {
    await using cluster = await Cluster.up(2, NETWORKS[name]);
    const nodes = [...cluster.nodes.values()];
    const routes = (node: TestNode): string => cluster.ip(node, 'route show').replaceAll(' linkdown', '');
    const before = nodes.map(routes);
    const attacks = [
      '172.30.0.0/24',
      '172.30.0.0/25',
      '0.0.0.0/0',
      '8.8.8.0/24',
      '10.244.0.0/16',
      '10.244.0.0/17',
    ];
    for (const subnet of attacks) await putForeign(cluster, lease(subnet, '172.30.0.99', name));
    const [own] = nodes[0]?.subnets ?? [];
    const inside = `${own}`.replace('.0/24', '.128/25');
    await putForeign(cluster, lease(inside, '172.30.0.99', name));
    await putForeign(cluster, lease('10.244.200.0/24', '127.0.0.1', name));
    await putForeign(cluster, lease('10.244.201.0/24', '10.244.7.1', name));
    await putForeign(cluster, lease('10.244.202.0/24', '224.0.0.1', name));
    for (const [i, node] of nodes.entries()) {
      for (const subnet of [...attacks, inside])
        await status(cluster, node, says(`${LAYOUT.lease([parseCidr(subnet)])} is ignored: ${subnet}`));
      await status(cluster, node, says('127.0.0.1 is a loopback address'));
      await status(cluster, node, says('224.0.0.1 is a multicast address'));
      await status(cluster, node, says('its address 10.244.7.1 is in a network of pods, 10.244.0.0/16'));
      assert.equal(routes(node), before[i]);
    }
    await cluster.store((kv) => kv.delete(LAYOUT.lease([parseCidr('172.30.0.0/24')])));
    const [node] = nodes;
    assert.ok(node);
    await status(cluster, node, (each) => !says('172.30.0.0-24')(each));
    // A lawful one counts at once.
    await putForeign(cluster, lease('10.244.203.0/24', '172.30.0.98', name));
    for (let i = 0; i < 100 && !routes(node).includes('10.244.203.0/24'); i++) await sleep(20);
    assert.match(routes(node), /10\.244\.203\.0\/24 via/);
  });
}

test('a node whose host uses the pods’ network is not ready, names both, and changes nothing', async () => {
  await using cluster = await Cluster.up(2, NETWORKS.vxlan);
  const [node, other] = cluster.nodes.values();
  assert.ok(node?.subnets && other);
  const device = (address: string): void => {
    cluster.ip(node, 'link add x0 type veth peer name x1');
    cluster.ip(node, 'link set x1 up');
    cluster.ip(node, 'link set x0 up');
    cluster.ip(node, `address add ${address} dev x0`);
  };
  const isRefused = (use: string) => (each: AgentStatus) =>
    !each.ready && (each.notReady ?? '').includes(`10.244.0.0/16, a network of pods, overlaps ${use}`);
  // Somewhere in the network: no pods here, but those it has reach the others.
  device('10.244.250.1/24');
  await status(cluster, node, isRefused('10.244.250.0/24, the network of x0'));
  assert.match(cluster.ip(node, 'route show'), new RegExp(`^${other.subnets?.[0]} via `, 'm'));
  cluster.ip(node, 'link del x0');
  await status(cluster, node, ({ ready }) => ready);
  cluster.ip(node, 'route add 10.244.250.0/24 dev eth0 proto static');
  await status(cluster, node, isRefused('10.244.250.0/24, a route of this host, proto static'));
  cluster.ip(node, 'route del 10.244.250.0/24 proto static');
  await status(cluster, node, ({ ready }) => ready);
  // Its own subnet: an agent that starts then makes nothing.
  for (const pod of [...node.pods]) await cluster.deletePod(node, pod);
  await stopAgent(cluster.lab, node.name, 'kill');
  cluster.ip(node, 'link del cni0');
  cluster.ip(node, 'link del flannel.1');
  const [subnet] = node.subnets;
  const address = `${subnet}`.replace('.0/24', '.9/24');
  device(address);
  const before = cluster.ip(node, 'route show');
  await startAgent(cluster.lab, node.name);
  await status(cluster, node, isRefused(`${subnet}, the network of x0`));
  await sleep(300);
  assert.equal(cluster.ip(node, 'route show'), before);
  assert.doesNotMatch(cluster.ip(node, 'link show'), /cni0|flannel/);
  cluster.ip(node, 'link del x0');
  await status(cluster, node, ({ ready }) => ready);
  await cluster.wantPod(node);
  await settled(cluster);
});

test('a route of another program in the place of a peer’s is named in status, and nothing else fails', async () => {
  await using cluster = await Cluster.up(2, NETWORKS['host-gw']);
  const [node, other] = cluster.nodes.values();
  assert.ok(node && other?.subnets);
  const [subnet] = other.subnets;
  cluster.ip(node, `route replace ${subnet} via 172.30.0.99 proto static`);
  const { problems, ready } = await status(cluster, node, says("another program's route is in its place"));
  assert.equal(ready, true);
  const text = problems.map(problemText).join('\n');
  const fix = /remove it: ip (route del .*)$/m.exec(text)?.[1];
  assert.equal(fix, `route del ${subnet} via 172.30.0.99 dev eth0 proto static`);
  cluster.ip(node, fix ?? '');
  await status(cluster, node, (each) => each.problems.length === 0);
  await settled(cluster);
});
