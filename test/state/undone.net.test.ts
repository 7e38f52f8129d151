import assert from 'node:assert/strict';
import { test } from 'node:test';
import { failures, ownProblem } from '../../src/agent/report.ts';
import type { LocalPod } from '../../src/cluster/node.ts';
import { desiredState } from '../../src/desired/desired.ts';
import { Memo } from '../../src/desired/memo.ts';
import { parseIp } from '../../src/ip/address.ts';
import { SILENT } from '../../src/log.ts';
import { keyOf } from '../../src/state/item.ts';
import { Reconciler } from '../../src/state/reconciler.ts';
import { factsOf, type Plan } from '../backends/cluster.ts';
import { Namespace, NO_KERNEL } from './namespace.ts';

const PLAN: Plan = { size: 4, families: [4, 6], backend: { Type: 'vxlan' }, networks: 1 };

test('a pod’s deleted device is reported as that pod’s problem, and the node still accepts other pods', {
  skip: NO_KERNEL,
}, async () => {
  using namespace = new Namespace(PLAN);
  using reconciler = new Reconciler({ netns: namespace.path, log: SILENT });
  const broken: LocalPod = {
    containerId: 'c1',
    labels: {},
    ifName: 'eth0',
    hostDevice: 'cali1',
    netns: '/n',
    addresses: [parseIp('10.0.1.9'), parseIp('fd10:0:0:1::9')],
    wiring: 'routed',
  };
  reconciler.setDesired(desiredState({ ...factsOf(PLAN), pods: [broken] }).contributions);
  const { undone } = await reconciler.run();
  assert.ok(undone.some(({ change: { item } }) => item.kind === 'address'));
  for (const { owner } of undone) assert.deepEqual([owner?.part, owner?.name], ['pod', 'c1']);
  assert.equal(ownProblem(undone), undefined);
  assert.deepEqual(failures(undone), [
    'pod c1: device cali1 is absent',
    'pod c1: link cali1 does not exist yet',
  ]);
});

test('waiting changes stay listed while others are made without reading the kernel', {
  skip: NO_KERNEL,
}, async () => {
  using namespace = new Namespace(PLAN);
  // A foreign device: flannel.1 can't be created.
  namespace.ip('link add flannel.1 type veth peer name x');
  using reconciler = new Reconciler({ netns: namespace.path, log: SILENT });
  reconciler.allowPrune();
  const facts = factsOf(PLAN);
  const memo = new Memo();
  const follow = async (peers: typeof facts.peers) => {
    reconciler.setDesired(desiredState({ ...facts, peers }, memo).contributions);
    return reconciler.run();
  };
  const first = await follow(facts.peers.slice(0, 2));
  const isTunnel = ({ change: { item } }: (typeof first.undone)[number]) => keyOf(item) === 'link flannel.1';
  const tunnel = first.undone.find(isTunnel);
  assert.match(ownProblem(first.undone) ?? '', /link flannel\.1: a device of another kind/);
  // All of a peer's IPv4 items need the device; its IPv6 items are added without reading the kernel.
  const only6 = facts.peers.map((peer, i) => (i < 2 ? peer : { ...peer, subnets: peer.subnets.slice(1) }));
  const second = await follow(only6.slice(0, 3));
  assert.equal(second.full, false);
  assert.ok(second.done.length > 0);
  assert.deepEqual(second.undone.find(isTunnel), tunnel);
  assert.ok(ownProblem(second.undone) !== undefined);
  assert.deepEqual(reconciler.undone, second.undone);

  namespace.ip('link del flannel.1');
  const third = await follow(facts.peers);
  assert.deepEqual(third.undone, []);
  assert.deepEqual(reconciler.undone, []);
});

test('undone changes leave the list with their owner', { skip: NO_KERNEL }, async () => {
  using namespace = new Namespace({ ...PLAN, backend: { Type: 'host-gw' } });
  namespace.ip('addr del 172.16.0.2/16 dev eth0');
  using reconciler = new Reconciler({ netns: namespace.path, log: SILENT });
  reconciler.allowPrune();
  const facts = factsOf({ ...PLAN, families: [4], backend: { Type: 'host-gw' } });
  const memo = new Memo();
  reconciler.setDesired(desiredState(facts, memo).contributions);
  const before = (await reconciler.run()).undone.map(({ owner }) => owner?.name);
  assert.deepEqual(before.toSorted(), ['node1', 'node2', 'node3']);
  reconciler.setDesired(desiredState({ ...facts, peers: facts.peers.slice(0, 2) }, memo).contributions);
  const after = (await reconciler.run()).undone.map(({ owner }) => owner?.name);
  assert.deepEqual(after, ['node1']);
});
