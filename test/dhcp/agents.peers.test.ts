import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { isWell } from '../../src/agent/status.ts';
import { readNetwork } from '../../src/cluster/network.ts';
import { down } from '../../src/lab/down.ts';
import { agentReady, startAgent, stopAgent } from '../../src/lab/machine/agent.ts';
import { createPod, deletePod } from '../../src/lab/pods/pod.ts';
import type { PodRecord } from '../../src/lab/pods/record.ts';
import type { Lab } from '../../src/lab/record/lab.ts';
import { netnsOf, podNetns } from '../../src/lab/record/names.ts';
import { up } from '../../src/lab/up.ts';
import { netnsPath } from '../../src/linux/netns.ts';
import { LAYOUT } from '../agent/cluster.ts';
import { unreached } from '../agent/matrix.ts';
import { untilStatus } from '../agent/until-status.ts';
import { CANNOT } from '../lab/host.ts';
import { withKv } from '../store/lab.ts';
import { eventually } from '../store/servers.ts';
import { Dnsmasq, NO_DNSMASQ } from './dnsmasq.ts';

const PHYSICAL = { Network: '172.30.0.0/17', wiring: 'macvlan', Backend: { Type: 'alloc' } };
const NODES = ['node1', 'node2'];

/** A lab has no DHCP server, and refuses such a network: it gets one, and the network, afterwards. */
async function labWithDhcp(name: string): Promise<Lab> {
  const lab = await up({ name, nodes: 2, subnets: 1, network: readNetwork({ ...PHYSICAL, SubnetLen: 24 }) });
  for (const node of NODES) await stopAgent(lab, node, 'stop');
  await withKv(lab, (kv) => kv.put(LAYOUT.config, JSON.stringify({ ...PHYSICAL, addresses: 'dhcp' })));
  for (const node of NODES) await startAgent(lab, node);
  for (const node of NODES) await agentReady(lab, node);
  return lab;
}

test('agents whose pods have leases: the server is away, an agent is killed, a pod ends', {
  skip: NO_DNSMASQ || CANNOT,
  timeout: 120_000,
}, async (t) => {
  const name = `d${process.pid}`;
  t.after(() => down(name));
  const lab = await labWithDhcp(name);
  await using server = new Dnsmasq(netnsOf(name, 'router'), lab.paths.root);
  const serve = () =>
    server.start(
      '--dhcp-range=172.30.5.100,172.30.5.120,255.255.128.0,120',
      ...['router,172.30.0.1', 'T1,3', 'T2,6'].map((option) => `--dhcp-option=option:${option}`),
    );
  await serve();
  const pods: PodRecord[] = [];
  for (const node of NODES) {
    const pod = { namespace: 'default', name: `on-${node}`, node, labels: {}, containers: [] };
    pods.push(await createPod(lab, pod));
  }
  const [pod] = pods as [PodRecord];
  assert.match(pod.addresses.join(), /^172\.30\.5\.1[012]\d$/);
  const ends = pods.map((each) => ({
    name: each.name,
    netns: netnsPath(podNetns(name, each.namespace, each.name)),
    addresses: each.addresses,
  }));
  assert.deepEqual(await unreached(4, ends, ends), []);

  await server.stop();
  const one = { name: 'node1' };
  const dying =
    /^default\/on-node1 will lose its address 172\.30\.5\.\d+ in \d+ s: the DHCP server 172\.30\.0\.1 does/;
  await untilStatus({ lab }, one, (status, text) => isWell(status) && dying.test(text));
  await stopAgent(lab, 'node1', 'kill');
  await serve();
  const confirmed = () => server.log.split(`DHCPACK(eth0) ${pod.addresses[0]} `).length;
  const before = confirmed();
  await startAgent(lab, 'node1');
  await untilStatus({ lab }, one, (status, text) => isWell(status) && text === '');
  assert.ok(confirmed() > before, 'the next agent has asked for more time');
  assert.deepEqual(await unreached(4, ends, ends), []);

  const leases = join(lab.paths.node('node1').agent.state, 'leases');
  assert.equal(readdirSync(leases).length, 1);
  await deletePod(lab, pod);
  await eventually(() => server.log.includes(`DHCPRELEASE(eth0) ${pod.addresses[0]} `));
  assert.deepEqual(readdirSync(leases), []);
});
