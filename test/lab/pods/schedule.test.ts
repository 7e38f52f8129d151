import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { Workload } from '../../../src/lab/pods/manifest/read.ts';
import { type SchedulableNode, schedule } from '../../../src/lab/pods/schedule.ts';
import { type ExistingPod, ownerOf, planWorkloads } from '../../../src/lab/pods/workload-plan.ts';

const node = (name: string, ready = true, labels = {}): SchedulableNode => ({ name, labels, ready });

test('a pod goes to the node with the fewest pods of its owner, then with the fewest pods', () => {
  const nodes = [node('a'), node('b'), node('c')];
  const pods = [
    { node: 'a', owner: 'Deployment/web' },
    { node: 'b' },
    { node: 'b' },
    { node: 'c', owner: 'Deployment/web' },
  ];
  assert.equal(schedule({ owner: 'Deployment/web' }, nodes, pods), 'b');
  assert.equal(schedule({}, nodes, pods), 'a');
});

test('nodes without an agent get no pods, unless named', () => {
  const nodes = [node('a', false), node('b')];
  assert.equal(schedule({}, nodes, [{ node: 'b' }]), 'b');
  assert.equal(schedule({ nodeName: 'a' }, nodes, []), 'a');
  assert.throws(() => schedule({}, [node('a', false)], []), /no agent is running on a; .*node start/);
});

test('nodeSelector and nodeName restrict the nodes', () => {
  const nodes = [node('a'), node('b', true, { disk: 'ssd' })];
  assert.equal(schedule({ nodeSelector: { disk: 'ssd' } }, nodes, [{ node: 'b' }]), 'b');
  assert.equal(schedule({ nodeSelector: { 'kubernetes.io/hostname': 'b' } }, nodes, []), 'b');
  assert.equal(schedule({ nodeSelector: { 'kubernetes.io/os': 'linux' } }, nodes, []), 'a');
  assert.throws(
    () => schedule({ nodeSelector: { disk: 'tape' } }, nodes, []),
    /no node has the labels .* nodes have the labels kubernetes\.io\/hostname/,
  );
  assert.throws(() => schedule({}, [], []), /there is no node; add one/);
  assert.throws(() => schedule({ nodeName: 'z' }, nodes, []), /there is no node 'z'; the lab has a, b/);
});

const workload = fc.record({
  kind: fc.constantFrom('Deployment', 'DaemonSet'),
  namespace: fc.constantFrom('default', 'team'),
  name: fc.constantFrom('web', 'db'),
  replicas: fc.integer({ min: 0, max: 12 }),
  hash: fc.constantFrom('aaaaaa', 'bbbbbb'),
});
const template = { labels: {}, nodeSelector: {}, containers: [] };
const workloads = fc
  .uniqueArray(workload, { selector: (each) => `${each.kind} ${each.namespace} ${each.name}`, maxLength: 5 })
  .map((list) => list.map((each): Workload => ({ ...each, kind: each.kind as Workload['kind'], template })));
const clusterNodes = fc
  .uniqueArray(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 6 })
  .map((numbers) => numbers.map((n) => node(`node${n}`)));

/** Returns the lab's pods after a plan is carried out. */
function after(wanted: readonly Workload[], nodes: readonly SchedulableNode[], pods: readonly ExistingPod[]) {
  const plan = planWorkloads(wanted, nodes, pods);
  const made = plan.create.map((pod): ExistingPod => {
    const { namespace, name, workload: each } = pod;
    return { namespace, name, node: pod.node, owner: ownerOf(each), template: each.hash, alive: true };
  });
  return { plan, pods: [...pods.filter((pod) => !plan.remove.includes(pod)), ...made] };
}

test('from any state, one plan gives every workload its pods, evenly spread, and the next plan is empty', () => {
  fc.assert(
    fc.property(workloads, workloads, clusterNodes, fc.func(fc.boolean()), (before, wanted, nodes, lives) => {
      const start = after(before, nodes, []).pods.map((pod) => ({ ...pod, alive: lives(pod.name) }));
      const { pods } = after(wanted, nodes, start);
      const names = pods.map((pod) => `${pod.namespace}/${pod.name}`);
      assert.equal(new Set(names).size, names.length, 'two pods have the same name');
      for (const each of wanted) {
        const own = pods.filter((pod) => pod.owner === ownerOf(each) && pod.namespace === each.namespace);
        assert.ok(own.every((pod) => pod.alive && pod.template === each.hash));
        const counts = nodes.map(({ name }) => own.filter((pod) => pod.node === name).length);
        if (each.kind === 'DaemonSet') assert.deepEqual(new Set(counts), new Set([1]));
        else assert.equal(own.length, each.replicas);
      }
      const again = after(wanted, nodes, pods).plan;
      assert.deepEqual([again.create, again.remove], [[], []]);
    }),
  );
});

test('a new deployment’s replicas differ by at most one between nodes', () => {
  fc.assert(
    fc.property(clusterNodes, fc.integer({ min: 0, max: 40 }), (nodes, replicas) => {
      const web: Workload = {
        kind: 'Deployment',
        namespace: 'default',
        name: 'web',
        replicas,
        template,
        hash: 'a',
      };
      const { pods } = after([web], nodes, []);
      const counts = nodes.map(({ name }) => pods.filter((pod) => pod.node === name).length);
      assert.ok(Math.max(...counts) - Math.min(...counts) <= 1);
      const fewer = after([{ ...web, replicas: Math.floor(replicas / 2) }], nodes, pods);
      assert.equal(fewer.plan.create.length, 0);
      const left = nodes.map(({ name }) => fewer.pods.filter((pod) => pod.node === name).length);
      assert.ok(Math.max(...left) - Math.min(...left) <= 1, 'scaling down takes from the fullest node');
    }),
  );
});

test('pods without an owner are left alone', () => {
  const mine: ExistingPod = { namespace: 'default', name: 'mine', node: 'gone', alive: false };
  assert.deepEqual(planWorkloads([], [node('a')], [mine]), { remove: [], create: [], pending: [] });
});

test('pods that fit no node are pending, and the rest are created', () => {
  const ssd = { ...template, nodeSelector: { disk: 'ssd' } };
  const of = (name: string, each: Workload['template']): Workload => {
    return { kind: 'Deployment', namespace: 'default', name, replicas: 2, template: each, hash: 'a' };
  };
  const { create, pending } = planWorkloads([of('ssd', ssd), of('any', template)], [node('a')], []);
  assert.deepEqual(
    create.map(({ name }) => name),
    ['any-a-1', 'any-a-2'],
  );
  assert.match(pending[0]?.message ?? '', /no node has the labels/);
});
