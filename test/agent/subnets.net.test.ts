import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { isWell } from '../../src/agent/status.ts';
import { familyOf, type Ip } from '../../src/ip/address.ts';
import { nthIp } from '../../src/ip/cidr.ts';
import { agentStatus, startAgent, stopAgent } from '../../src/lab/machine/agent.ts';
import { storeProcess } from '../../src/lab/machine/store.ts';
import { OUTSIDE } from '../../src/lab/machine/underlay-plan.ts';
import { netnsPath } from '../../src/linux/netns.ts';
import { signalProcess } from '../../src/linux/process.ts';
import { problemText } from '../../src/problem.ts';
import { Cluster, type TestNode } from './cluster.ts';
import { Foreigners } from './foreigners.ts';
import { putForeign } from './leases.ts';
import { unreached } from './matrix.ts';
import { NETWORKS } from './networks.ts';
import { settled } from './settle.ts';
import { untilStatus } from './until-status.ts';

/**
 * Waits until the node is ready with subnets other than `lost`; returns how often it was seen ready with
 * those.
 */
async function readyElsewhere(cluster: Cluster, node: TestNode, lost: readonly string[]): Promise<number> {
  let wrong = 0;
  for (let look = 0; look < 1000; look++) {
    const status = await agentStatus(cluster.lab, node.name);
    if (status?.ready) {
      if (`${status.subnets}` !== `${lost}`) return wrong;
      wrong++;
    }
    await sleep(5);
  }
  assert.fail('not ready elsewhere');
}

test('no pod gets an address from subnets that another node took while the agent was down', async () => {
  await using cluster = await Cluster.up(2, NETWORKS['host-gw']);
  const [node] = cluster.nodes.values();
  assert.ok(node?.subnets);
  const { subnets } = node;
  await stopAgent(cluster.lab, node.name, 'kill');
  for (const pod of [...node.pods]) await cluster.deletePod(node, pod);
  await cluster.endLease(node);
  await putForeign(cluster, { ...new Foreigners(cluster).create(), subnets });
  // The store may be slow to answer.
  const store = storeProcess(cluster.lab);
  assert.ok(store);
  signalProcess(store, 'SIGSTOP');
  setTimeout(() => signalProcess(store, 'SIGCONT'), 1500);
  await startAgent(cluster.lab, node.name);
  assert.equal(
    await readyElsewhere(cluster, node, subnets),
    0,
    'a pod could have got an address of another node',
  );
  await cluster.wantPod(node);
  await settled(cluster);
});

test('subnets that another node has taken are given up, and new ones claimed', async () => {
  await using cluster = await Cluster.up(2, NETWORKS['host-gw']);
  const [node] = cluster.nodes.values();
  assert.ok(node?.subnets);
  const { subnets } = node;
  for (const pod of [...node.pods]) await cluster.deletePod(node, pod);
  node.subnets = undefined;
  await putForeign(cluster, { ...new Foreigners(cluster).create(), subnets });
  await readyElsewhere(cluster, node, subnets);
  await cluster.wantPod(node);
  await settled(cluster);
});

test('pods whose node got other subnets keep their gateway and their node, and are named', async () => {
  await using cluster = await Cluster.up(2, NETWORKS['vxlan dual stack']);
  const [node, other] = cluster.nodes.values();
  assert.ok(node?.subnets && other);
  const { subnets } = node;
  const [old] = node.pods;
  assert.ok(old);
  const [v4 = '', v6 = ''] = old.record.addresses;
  const gateways = subnets.map((subnet) => nthIp(subnet, 1));
  node.subnets = undefined;
  const foreigner = { ...new Foreigners(cluster).create(), subnets };
  await putForeign(cluster, foreigner);
  await readyElsewhere(cluster, node, subnets);
  await cluster.complete();
  const fresh = await cluster.addPod(node);
  const status = await untilStatus(cluster, node, (_, text) => /no longer holds/.test(text));
  assert.deepEqual(status.problems.map(problemText), [
    `pods have addresses of subnets that this node no longer holds: default/p0 (${v4}), default/p0 (${v6}): ` +
      'other nodes do not send to them; delete the pods, and their successors get addresses of this node',
  ]);
  assert.ok(!isWell(status));

  // Nobody else's address is shadowed: only the pod's own, and its gateway's.
  for (const [family, ip] of [
    [4, nthIp(subnets[0] ?? assert.fail(), 77)],
    [6, nthIp(subnets[1] ?? assert.fail(), 77)],
  ]) {
    assert.match(cluster.ip(node, `-${family} route get ${ip}`), /dev flannel/, 'goes to its new owner');
  }
  const shown = cluster.ip(node, '-br addr show dev cni0');
  for (const gateway of gateways) assert.match(shown, new RegExp(` ${gateway}/(32|128)( |$)`, 'm'));
  const end = (name: string, netns: string, addresses: readonly Ip[]) => ({ name, netns, addresses });
  const before = end('old', netnsPath(cluster.podNetns(old.record)), old.record.addresses);
  const after = end('fresh', netnsPath(cluster.podNetns(fresh.record)), fresh.record.addresses);
  const gateway = end('the gateway', netnsPath(cluster.netns(node)), gateways);
  const host = { ...gateway, addresses: [] };
  const [remote] = other.pods;
  assert.ok(remote);
  for (const family of [4, 6] as const) {
    assert.deepEqual(await unreached(family, [before, after, host], [before, after]), []);
    assert.deepEqual(await unreached(family, [before], [gateway]), []);
    // The answers come to an address of this node.
    for (const to of [...remote.record.addresses, ...Object.values(OUTSIDE)]) {
      if (familyOf(to) === family) ping(cluster.podNetns(old.record), to);
    }
    const own = old.record.addresses.find((ip) => familyOf(ip) === family) ?? assert.fail();
    assert.throws(() => ping(cluster.podNetns(remote.record), own), 'its subnet is another node’s');
  }

  await stopAgent(cluster.lab, node.name, 'kill');
  await startAgent(cluster.lab, node.name);
  await untilStatus(cluster, node, ({ ready }, text) => ready && /no longer holds/.test(text));
  for (const family of [4, 6] as const)
    assert.deepEqual(await unreached(family, [before, host], [before]), []);
  await cluster.deletePod(node, old);
  await settled(cluster);
});

function ping(netns: string, to: Ip): void {
  execFileSync('ip', ['netns', 'exec', netns, 'ping', '-c3', '-i0.2', '-W1', to], { stdio: 'pipe' });
}
