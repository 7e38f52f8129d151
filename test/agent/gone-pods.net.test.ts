import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Loop } from '../../src/agent/loop.ts';
import { releasePorts } from '../../src/agent/release.ts';
import type { LocalPod } from '../../src/cluster/node.ts';
import { type Flow, flowDump } from '../../src/linux/conntrack/flow.ts';
import { NETLINK_NETFILTER, NetlinkSocket } from '../../src/linux/netlink/socket.ts';
import { SILENT } from '../../src/log.ts';
import { nodesOf, selfOf } from '../backends/cluster.ts';
import { Namespace, NO_KERNEL } from '../state/namespace.ts';
import { localLoop, PLAN, podOn } from './local-loop.ts';

// The store does not answer, so nothing is known to be gone but what this node alone knows: its pods.

const serving = (n: number): LocalPod => ({
  ...podOn(n),
  hostPorts: [{ protocol: 'tcp', hostPort: 8080 + n, containerPort: 80 }],
});
const [ONE, TWO] = [serving(1), serving(2)];

/** An agent with these pods, which knows the cluster from the view it saved; stops at once if told to. */
async function agent(t: TestContext, namespace: Namespace, pods: readonly LocalPod[], nodes = nodesOf(PLAN)) {
  const { facts, loop, stop, network, self, resources } = localLoop(t, namespace.path, pods);
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

async function flowsTo({ path }: Namespace, ip: string): Promise<Flow[]> {
  using socket = NetlinkSocket.open(NETLINK_NETFILTER, { netns: path });
  return (await socket.dump(flowDump(4, 17, 8082))).filter(({ reply }) => reply.src === ip);
}

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

test('once its DEL is answered, no host port leads to a pod, not even for a UDP flow that is tracked', {
  skip: NO_KERNEL,
}, async (t) => {
  using namespace = new Namespace(PLAN, ['veth1', 'veth2']);
  const pod: LocalPod = { ...TWO, hostPorts: [{ protocol: 'udp', hostPort: 8082, containerPort: 53 }] };
  const { facts, loop } = await agent(t, namespace, [ONE, pod]);
  facts.pods.complete();
  await settled(loop);
  const table = () => namespace.run('nft', 'list table ip flatnet-host-ports');
  assert.match(table(), /udp \. 8082/);
  // What a client that goes on sending has left.
  namespace.run('bash', '-c', `echo x >/dev/udp/${selfOf(PLAN, 0).underlay.addresses[4]}/8082`);
  assert.equal((await flowsTo(namespace, '10.0.1.2')).length, 1);
  facts.pods.remove(pod);
  await releasePorts(pod, { loop, log: SILENT, netns: namespace.path });
  assert.doesNotMatch(table(), /8082/);
  assert.deepEqual(await flowsTo(namespace, '10.0.1.2'), []);
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
