import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Facts } from '../../src/agent/facts.ts';
import { Loop } from '../../src/agent/loop.ts';
import { DEFAULT_PATHS } from '../../src/agent/options.ts';
import type { LocalPod } from '../../src/cluster/node.ts';
import { NO_RESOURCES } from '../../src/cluster/resources.ts';
import { parseIp } from '../../src/ip/address.ts';
import { parseMac } from '../../src/ip/mac.ts';
import { SILENT } from '../../src/log.ts';
import { factsOf, nodesOf, type Plan } from '../backends/cluster.ts';
import { Namespace, NO_KERNEL } from '../state/namespace.ts';

// The store does not answer, so nothing is known to be gone but what this node alone knows: its pods.

const PLAN: Plan = { size: 3, families: [4, 6], backend: { Type: 'vxlan' }, networks: 1 };

const podOn = (n: number): LocalPod => ({
  containerId: `c${n}`,
  labels: {},
  ifName: 'eth0',
  hostDevice: `veth${n}`,
  netns: '/n',
  addresses: [parseIp(`10.0.1.${n}`), parseIp(`fd10:0:0:1::${n}`)],
  mac: parseMac(`02:00:00:00:00:0${n}`),
  hostPorts: [{ protocol: 'tcp', hostPort: 8080 + n, containerPort: 80 }],
});
const [ONE, TWO] = [podOn(1), podOn(2)];

/** An agent with these pods, which knows the cluster from the view it saved; stops at once if told to. */
async function agent(t: TestContext, namespace: Namespace, pods: readonly LocalPod[], nodes = nodesOf(PLAN)) {
  const { network, self, resources = NO_RESOURCES } = factsOf(PLAN);
  const store = { endpoints: [] };
  const options = { node: self.node.name, labels: {}, store, paths: DEFAULT_PATHS, logLevel: 'silent' };
  const facts = new Facts(options, self.tunnelMacs, pods);
  const loop = new Loop(facts, SILENT, namespace.path);
  const stop = new AbortController();
  t.after(() => stop.abort());
  facts.setUnderlay(self.underlay);
  facts.setCluster({ network, resources, nodes }, false);
  facts.confirmSubnets(self.node.subnets);
  loop.start(stop.signal);
  await once(loop, 'ready');
  return { facts, loop, stop };
}

/** The second pod's traces in tables. */
const traces = (namespace: Namespace) => ({
  ports: /tcp \. (8082)/.exec(namespace.run('nft', 'list table ip flatnet-host-ports'))?.[1],
  guard: /"(veth2)"/.exec(namespace.run('nft', 'list table bridge flatnet-bridge'))?.[1],
});

async function settled(loop: Loop): Promise<void> {
  await sleep(150);
  await loop.reconciler.run();
}

test('without the store, a pod that was deleted leaves no host port behind', {
  skip: NO_KERNEL,
}, async (t) => {
  using namespace = new Namespace(PLAN, ['veth1', 'veth2']);
  const first = await agent(t, namespace, [ONE, TWO]);
  first.facts.pods.complete();
  assert.deepEqual(traces(namespace), { ports: '8082', guard: 'veth2' });
  first.facts.pods.remove(TWO);
  await settled(first.loop);
  assert.deepEqual(traces(namespace), { ports: undefined, guard: undefined });
});

test('a pod that went while no agent ran leaves nothing either, once all records have been read', {
  skip: NO_KERNEL,
}, async (t) => {
  using namespace = new Namespace(PLAN, ['veth1', 'veth2']);
  const first = await agent(t, namespace, [ONE, TWO]);
  first.stop.abort();
  await first.loop.reconciler.idle();
  // One of the nodes is missing from the saved view.
  const second = await agent(t, namespace, [ONE], nodesOf(PLAN).slice(0, 2));
  await settled(second.loop);
  assert.deepEqual(traces(namespace), { ports: '8082', guard: 'veth2' }, 'its record may be unreadable');
  second.facts.pods.complete();
  await settled(second.loop);
  assert.deepEqual(traces(namespace), { ports: undefined, guard: undefined });
  assert.match(namespace.run('nft', 'list table ip flatnet-host-ports'), /tcp \. 8081/, 'the other pod');
  assert.equal(namespace.ip('route show proto 110').trim().split('\n').length, 2, 'other nodes are not gone');
});
