import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Facts } from '../../src/agent/facts.ts';
import type { Loop } from '../../src/agent/loop.ts';
import { notReady } from '../../src/agent/readiness.ts';
import type { Network } from '../../src/cluster/network.ts';
import type { LocalPod } from '../../src/cluster/node.ts';
import { collectPolicies } from '../../src/policy/collect.ts';
import { nodesOf } from '../backends/cluster.ts';
import { Namespace, NO_KERNEL } from '../state/namespace.ts';
import { localLoop, PLAN, podOn } from './local-loop.ts';

const PODS = [podOn(1), podOn(2), podOn(3)] as const;

/** A ready node without pods, in whose namespace devices are waiting for three. */
async function ready(t: TestContext, { guard }: Pick<Network, 'guard'> = {}) {
  const namespace = new Namespace(
    PLAN,
    PODS.map(({ hostDevice = '' }) => hostDevice),
  );
  t.after(() => namespace[Symbol.dispose]());
  const { facts, loop, stop, network, self, resources } = localLoop(t, namespace.path, []);
  loop.start(stop.signal);
  assert.match((await admitted(facts, loop, PODS[0])) ?? '', /does not know the network/);
  facts.pods.remove(PODS[0]);
  facts.setUnderlay(self.underlay);
  facts.setCluster(
    { network: { ...network, ...(guard !== undefined && { guard }) }, resources, nodes: nodesOf(PLAN) },
    true,
  );
  facts.confirmSubnets(self.node.subnets);
  await once(loop, 'ready');
  return { namespace, facts, loop };
}

async function admitted(facts: Facts, loop: Loop, pod: LocalPod): Promise<string | undefined> {
  facts.pods.add(pod);
  return loop.admit(pod);
}

const elements = (namespace: Namespace): string => namespace.run('nft', 'list table bridge flatnet-bridge');

test('a pod is admitted once its elements are in the kernel, and only then', {
  skip: NO_KERNEL,
}, async (t) => {
  const { namespace, facts, loop } = await ready(t);
  for (const pod of PODS) {
    assert.equal(await admitted(facts, loop, pod), undefined);
    const present = elements(namespace);
    for (const text of [`"${pod.hostDevice}"`, pod.mac, pod.addresses[0], pod.addresses[1]])
      assert.ok(text && present.includes(text), `${text} in ${present}`);
  }
});

test('pods that arrive together are all admitted', { skip: NO_KERNEL }, async (t) => {
  const { namespace, facts, loop } = await ready(t);
  const refusals = await Promise.all(PODS.map((pod) => admitted(facts, loop, pod)));
  assert.deepEqual(refusals, [undefined, undefined, undefined]);
  for (const { hostDevice } of PODS) assert.match(elements(namespace), new RegExp(`"${hostDevice}"`));
});

test('a table that someone deleted is made again before a pod is admitted', {
  skip: NO_KERNEL,
}, async (t) => {
  const { namespace, facts, loop } = await ready(t);
  for (const pod of PODS) {
    namespace.run('nft', 'delete table bridge flatnet-bridge');
    assert.equal(await admitted(facts, loop, pod), undefined);
    assert.match(elements(namespace), new RegExp(`"${pod.hostDevice}"`));
  }
});

test('while the kernel refuses the guard’s elements, no pod is admitted; afterwards each is', {
  skip: NO_KERNEL,
}, async (t) => {
  const { namespace, facts, loop } = await ready(t);
  // The kernel lets nobody else change a table with an owner.
  const owner = spawn('ip', ['netns', 'exec', namespace.name, 'nft', '-i'], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  t.after(() => owner.kill());
  owner.stdin.write('delete table bridge flatnet-bridge\n');
  owner.stdin.write('add table bridge flatnet-bridge { flags owner; }\n');
  owner.stdin.write('list tables\n');
  await once(owner.stdout, 'data');
  const [pod] = PODS;
  assert.match((await admitted(facts, loop, pod)) ?? '', /bridge flatnet-bridge: .*(permitted|owner)/i);
  const exit = once(owner, 'exit');
  owner.stdin.end();
  await exit;
  assert.equal(await admitted(facts, loop, pod), undefined);
  assert.match(elements(namespace), new RegExp(`"${pod.hostDevice}"`));
});

test('with the guard switched off, a pod waits for nothing', { skip: NO_KERNEL }, async (t) => {
  const { facts, loop } = await ready(t, { guard: false });
  assert.equal(await admitted(facts, loop, PODS[0]), undefined);
});

test('pods that come in a burst share computations of the whole', { skip: NO_KERNEL }, async (t) => {
  const { facts, loop } = await ready(t);
  let computations = 0;
  loop.on('settled', () => computations++);
  const begin = performance.now();
  for (let i = 0; i < 40; i++) {
    const pod = PODS[i % PODS.length] ?? PODS[0];
    assert.equal(await admitted(facts, loop, { ...pod, containerId: `c${i}` }), undefined);
    await sleep(2);
  }
  await sleep(60);
  assert.ok(computations > 0);
  assert.ok(computations <= 2 + (performance.now() - begin) / 50, `${computations} computations`);
});

test('an admission that came too late leaves nothing: its ADD is rolled back', {
  skip: NO_KERNEL,
}, async (t) => {
  const { namespace, facts, loop } = await ready(t);
  const [pod] = PODS;
  // The queue before it takes longer than the limit. Only then is the pod's turn.
  const { promise: before, resolve: ended } = Promise.withResolvers<void>();
  const admit = loop.reconciler.admit.bind(loop.reconciler);
  const delayed = async (...args: Parameters<typeof admit>) => before.then(() => admit(...args));
  t.mock.method(loop.reconciler, 'admit', delayed);
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const refused = admitted(facts, loop, pod);
  t.mock.timers.tick(5000);
  assert.match((await refused) ?? '', /still not after 5000 ms/);
  t.mock.timers.reset();
  facts.pods.remove(pod);
  await sleep(100);
  await loop.reconciler.idle();
  ended();
  await sleep(50);
  await loop.reconciler.idle();
  assert.ok(!elements(namespace).includes(`"${pod.hostDevice}"`), elements(namespace));
});

test('a pod whose policies cannot be enforced yet is not admitted', { skip: NO_KERNEL }, async (t) => {
  const [pod] = PODS;
  const namespace = new Namespace(PLAN, [pod.hostDevice ?? '']);
  t.after(() => namespace[Symbol.dispose]());
  const { facts, loop, stop, network, self, resources } = localLoop(t, namespace.path, []);
  loop.start(stop.signal);
  const policy = { onChange: 'cut', offload: true, logDenied: false, logGroup: 7, resolvers: [] } as const;
  const view = { network: { ...network, policy }, resources, nodes: nodesOf(PLAN) };
  facts.policy.areServed = true;
  facts.policy.setFlowtables(false);
  facts.setUnderlay(self.underlay);
  // The last view on disk: the store has told of policies, but not of its nodes yet.
  facts.setCluster(view, false);
  facts.confirmSubnets(self.node.subnets);
  const spec = {
    subject: { namespaces: {} },
    tier: 'Admin',
    priority: 1,
    ingress: [{ action: 'Deny', from: [{ namespaces: {} }] }],
  };
  const { tiers, problems } = collectPolicies([{ kind: 'ClusterNetworkPolicy', name: 'deny', spec }]);
  facts.policy.setView({ tiers, problems, pods: new Map(), others: [] });
  const why = notReady(facts, { kernel: undefined, companion: undefined });
  assert.match(why ?? '', /policies are not enforced yet: the cluster’s nodes are unknown/);
  const admission = admitted(facts, loop, pod);
  await sleep(500);
  facts.setCluster(view, true);
  assert.equal(await admission, undefined);
  assert.match(namespace.run('nft', 'list table ip flatnet-policy'), new RegExp(`${pod.addresses[0]}`));
});
