import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type TestContext, test } from 'node:test';
import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';
import { Facts } from '../../src/agent/facts.ts';
import { Loop } from '../../src/agent/loop.ts';
import { DEFAULT_PATHS } from '../../src/agent/options.ts';
import { NO_RESOURCES } from '../../src/cluster/resources.ts';
import { SILENT } from '../../src/log.ts';
import { factsOf, nodesOf, type Plan } from '../backends/cluster.ts';
import { Namespace, NO_KERNEL } from '../state/namespace.ts';

const PLAN: Plan = { size: 3, families: [4], backend: { Type: 'vxlan' }, networks: 1 };

/** A node's loop in its own namespace, with counts of its kernel changes. */
function start(t: TestContext, plan = PLAN) {
  const namespace = new Namespace(plan);
  t.after(() => namespace[Symbol.dispose]());
  const { network, self, resources = NO_RESOURCES } = factsOf(plan);
  const store = { endpoints: [] };
  const options = { node: self.node.name, labels: {}, store, paths: DEFAULT_PATHS, logLevel: 'silent' };
  const facts = new Facts(options, self.tunnelMacs, []);
  let changes = 0;
  const info = (_: object, text: string): void => {
    if (text === 'kernel changed') changes++;
  };
  const loop = new Loop(facts, { ...SILENT, info }, namespace.path);
  const stop = new AbortController();
  t.after(() => stop.abort());
  const view = { network, resources, nodes: nodesOf(plan) };
  const know = (): void => {
    facts.setUnderlay(self.underlay);
    facts.setCluster(view, true);
    facts.confirmSubnets(self.node.subnets);
  };
  return { namespace, facts, loop, view, know, changes: () => changes, start: () => loop.start(stop.signal) };
}

test('each report is handled once, though both onReport and the caller receive it', {
  skip: NO_KERNEL,
}, async (t) => {
  const { loop, know, changes, start: begin, namespace } = start(t);
  const devices: string[] = [];
  loop.on('device', ({ name }) => devices.push(name));
  begin();
  know();
  await once(loop, 'ready');
  await sleep(200);
  assert.deepEqual(devices.toSorted(), [...new Set(devices)].toSorted(), 'each device is reported once');
  assert.ok(devices.includes('flannel.1'));
  assert.equal(loop.status.runs, changes());
  namespace.ip('link del flannel.1');
  await once(loop, 'device');
  await sleep(200);
  assert.equal(loop.status.runs, changes());
  assert.deepEqual(loop.status.failures, []);
});

test('a pod without its device is reported, and the node still accepts others', {
  skip: NO_KERNEL,
}, async (t) => {
  const plan: Plan = { ...PLAN, families: [4, 6], backend: { Type: 'bgp' } };
  const { loop, facts, know, start: begin } = start(t, plan);
  const [pod] = factsOf(plan).pods;
  assert.ok(pod);
  facts.pods.add(pod);
  begin();
  know();
  await once(loop, 'ready');
  assert.equal(loop.problem, undefined);
  assert.ok(loop.status.failures.some((text) => text.includes(pod.hostDevice ?? '?')));
});

test('a failure of the node’s own part stays reported across other changes', {
  skip: NO_KERNEL,
}, async (t) => {
  const { loop, facts, view, know, namespace, start: begin } = start(t);
  // A foreign device has the VNI, which the kernel allows only once (vxlan_vni_in_use).
  namespace.ip('link add theirs type vxlan id 1 dstport 8472 local 172.16.0.2 dev eth0');
  begin();
  know();
  const isTold = (): boolean => loop.status.failures.some((text) => text.includes('flannel.1'));
  const deadline = performance.now() + 5000;
  while (!isTold() && performance.now() < deadline) await sleep(10);
  const problem = loop.problem;
  t.diagnostic(`${problem}; ${loop.status.failures}`);
  for (let i = 0; i < 5; i++) {
    facts.setCluster({ ...view, nodes: view.nodes.slice(0, 2 + (i % 2)) }, true);
    await sleep(50);
    assert.equal(loop.problem, problem);
    assert.ok(loop.problem);
    assert.ok(isTold());
  }
});

test('`settled` waits for the computation’s own run, not for one that began before it', {
  skip: NO_KERNEL,
}, async (t) => {
  const { loop, facts, view, know, namespace, start: begin } = start(t);
  begin();
  know();
  await once(loop, 'ready');
  const withVni = (VNI: number) => factsOf({ ...PLAN, backend: { Type: 'vxlan', VNI } }).network;
  const last = withVni(8);
  const devices = new Promise<string>((found) => {
    loop.on('settled', ({ facts: { network } }) => {
      if (network === last) found(namespace.ip('-o link'));
    });
  });
  facts.setCluster({ ...view, network: withVni(7) }, true);
  // Its run has begun.
  await nextTurn();
  facts.setCluster({ ...view, network: last }, true);
  assert.match(await devices, /flannel\.8/, 'settled before its device existed');
});

test('the node becomes ready again once its network can be computed', {
  skip: NO_KERNEL,
}, async (t) => {
  const { loop, facts, view, know, namespace, start: begin } = start(t);
  begin();
  know();
  await once(loop, 'ready');
  const network = { ...view.network, backend: { ...view.network.backend, type: 'carrier-pigeon' } };
  facts.setCluster({ ...view, network }, true);
  await sleep(100);
  assert.match(loop.problem ?? '', /cannot be computed/);
  const device = once(loop, 'device');
  namespace.ip('link del flannel.1');
  await device;
  assert.match(loop.problem ?? '', /cannot be computed/, 'a report on the previous state clears nothing');
  facts.setCluster(view, true);
  const deadline = performance.now() + 2000;
  while (loop.problem !== undefined && performance.now() < deadline) await sleep(10);
  assert.equal(loop.problem, undefined);
});
