// Pods whose namespace vanishes without a DEL (containerd#8303), seen by a whole agent.
import assert from 'node:assert/strict';
import { existsSync, readdirSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { askAgent } from '../../src/agent/ask.ts';
import { readNetwork } from '../../src/cluster/network.ts';
import { down } from '../../src/lab/down.ts';
import { agentReady, agentStatus, startAgent, stopAgent } from '../../src/lab/machine/agent.ts';
import type { Lab } from '../../src/lab/record/lab.ts';
import { netnsOf } from '../../src/lab/record/names.ts';
import { up } from '../../src/lab/up.ts';
import { problemText } from '../../src/problem.ts';
import { ip, Pod, pings, request } from '../cni/host.ts';
import { NO_KERNEL } from '../state/namespace.ts';

const V6 = { EnableIPv6: true, IPv6Network: 'fd00:93::/56' };
const ROUTED = { wiring: 'routed', Backend: { Type: 'host-gw' } };
const NETWORKS = {
  'IPv4, bridge': { Network: '10.93.0.0/16', Backend: { Type: 'vxlan' } },
  'dual stack, bridge': { Network: '10.93.0.0/16', ...V6, Backend: { Type: 'vxlan' } },
  'IPv4, routed': { Network: '10.93.0.0/16', ...ROUTED },
  'IPv6, routed': { EnableIPv4: false, ...V6, ...ROUTED },
  'dual stack, routed': { Network: '10.93.0.0/16', ...V6, ...ROUTED },
  'dual stack, blocks': {
    Network: '10.93.0.0/16',
    ...V6,
    addresses: 'blocks',
    wiring: 'routed',
    Backend: { Type: 'bgp', ipipMode: 'Never' },
  },
};

const NODE = 'node1';

async function labOf(t: TestContext, network: object): Promise<Lab> {
  const name = `v${process.pid}x${count++}`;
  t.after(() => down(name));
  return up({ name, nodes: 1, subnets: 1, network: readNetwork(network) });
}
let count = 0;

/** Calls the plugin as a runtime does for a pod of this name. */
async function cni(lab: Lab, command: string, id: string, name: string, pod?: Pod): Promise<string[]> {
  const args = `IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=${name}`;
  const call = request(command, { id, ...(pod && { pod }), env: { CNI_ARGS: args } });
  const reply = await askAgent(lab.paths.node(NODE).agentSocket, { op: 'cni', ...call });
  assert.equal(reply.exit, 0, `${command} of ${name}: ${reply.stdout}`);
  const { ips = [] } = reply.stdout === '' ? {} : JSON.parse(reply.stdout);
  return ips.map(({ address }: { address: string }) => address.split('/')[0] ?? '');
}

async function podsOf(lab: Lab): Promise<string[]> {
  const status = await agentStatus(lab, NODE);
  assert.ok(status?.ready, status?.notReady ?? 'no status');
  return status.pods.map(({ containerId }) => containerId).sort();
}

/** Waits until the agent knows exactly these pods; it is ready all the time. */
async function untilPods(lab: Lab, ...ids: string[]): Promise<void> {
  const deadline = performance.now() + 5000;
  while ((await podsOf(lab)).join() !== ids.join()) {
    assert.ok(performance.now() < deadline, `after 5 s: ${await podsOf(lab)}, not ${ids}`);
    await sleep(50);
  }
}

for (const [what, network] of Object.entries(NETWORKS)) {
  test(`a namespace that vanishes without DEL costs nobody else anything (${what})`, {
    skip: NO_KERNEL,
    timeout: 60_000,
  }, async (t) => {
    const lab = await labOf(t, network);
    const node = netnsOf(lab.name, NODE);
    await agentReady(lab, NODE);
    const [first, lone, second, other] = [new Pod(), new Pod(), new Pod(), new Pod()];
    t.after(() => {
      for (const pod of [first, lone, second, other]) pod[Symbol.dispose]();
    });
    await cni(lab, 'ADD', 'first', 'web-0', first);
    const freed = await cni(lab, 'ADD', 'lone', 'web-1', lone);
    first[Symbol.dispose]();
    lone[Symbol.dispose]();
    // Before anything has been collected: another pod, and the same one's next sandbox.
    const addresses = [
      ...(await cni(lab, 'ADD', 'other', 'web-2', other)),
      ...(await cni(lab, 'ADD', 'second', 'web-0', second)),
    ];
    assert.ok(addresses.every((address) => !freed.includes(address)));
    await untilPods(lab, 'other', 'second');
    const { agent } = lab.paths.node(NODE);
    const reserved = join(agent.cniData, 'cbr0');
    const names = existsSync(reserved) ? readdirSync(reserved) : [];
    for (const address of freed) assert.ok(!names.includes(address), `${address} is still reserved`);
    for (const address of addresses) assert.ok(pings(node, address), address);
    await sleep(200);
    assert.deepEqual((await agentStatus(lab, NODE))?.problems.map(problemText), []);
    // The DELs may come later.
    await cni(lab, 'DEL', 'first', 'web-0');
    await cni(lab, 'DEL', 'lone', 'web-1');
    for (const address of addresses) assert.ok(pings(node, address), address);
  });
}

test('a pod whose host device was deleted, but whose namespace lives, is named', {
  skip: NO_KERNEL,
  timeout: 60_000,
}, async (t) => {
  const lab = await labOf(t, NETWORKS['dual stack, routed']);
  await agentReady(lab, NODE);
  using pod = new Pod();
  await cni(lab, 'ADD', 'first', 'web-0', pod);
  const device = (await agentStatus(lab, NODE))?.pods[0]?.hostDevice ?? '';
  ip(netnsOf(lab.name, NODE), 'link', 'del', device);
  await sleep(2500);
  const problems = (await agentStatus(lab, NODE))?.problems.map(problemText) ?? [];
  assert.match(problems[0] ?? '', new RegExp(`pod default/web-0: .*${device}`));
  assert.deepEqual(await podsOf(lab), ['first']);
});

for (const wiring of ['IPv4, bridge', 'dual stack, routed'] as const) {
  test(`an agent that finds a damaged record at its start keeps the pod (${wiring})`, {
    skip: NO_KERNEL,
    timeout: 60_000,
  }, async (t) => {
    const lab = await labOf(t, NETWORKS[wiring]);
    await agentReady(lab, NODE);
    using pod = new Pod();
    const addresses = await cni(lab, 'ADD', 'first', 'web-0', pod);
    const { agent } = lab.paths.node(NODE);
    const node = netnsOf(lab.name, NODE);
    await stopAgent(lab, NODE, 'stop');
    truncateSync(join(agent.state, 'attachments/cbr0:first:eth0:interface.json'), 100);
    await startAgent(lab, NODE);
    await agentReady(lab, NODE);
    // Pruning is over.
    await sleep(1000);
    assert.deepEqual(await podsOf(lab), ['first']);
    for (const address of addresses) assert.ok(pings(node, address), address);
  });
}
