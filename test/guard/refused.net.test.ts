import assert from 'node:assert/strict';
import { test } from 'node:test';
import { failures, ownProblem, unguarded } from '../../src/agent/report.ts';
import type { LocalPod } from '../../src/cluster/node.ts';
import { desiredState } from '../../src/desired/desired.ts';
import { parseIp } from '../../src/ip/address.ts';
import { parseMac } from '../../src/ip/mac.ts';
import type { Item } from '../../src/state/item.ts';
import { factsOf, type Plan } from '../backends/cluster.ts';
import { Namespace, NO_KERNEL, Running } from '../state/namespace.ts';

const PLAN: Plan = { size: 2, families: [4, 6], backend: { Type: 'vxlan' }, networks: 1 };
const POD: LocalPod = {
  containerId: 'c',
  labels: {},
  ifName: 'eth0',
  hostDevice: 'veth1',
  netns: '/n',
  addresses: [parseIp('10.0.1.7'), parseIp('fd10:0:0:1::7')],
  mac: parseMac('02:00:00:00:00:07'),
};

/** As a kernel without nftables for bridges answers: the table is refused, whatever is in it. */
function unsupported(item: Item): Item {
  if (item.kind !== 'nft-table' || item.family !== 'bridge') return item;
  return { ...item, chains: [...item.chains, { name: 'impossible', rules: [{ rule: 'jump nowhere' }] }] };
}

test('where the kernel refuses the bridge’s table, one line says so, and all else is in place', {
  skip: NO_KERNEL,
}, async () => {
  using namespace = new Namespace(PLAN, ['veth1']);
  using running = new Running(namespace);
  const { contributions } = desiredState({ ...factsOf(PLAN), pods: [POD] });
  running.wantAll(contributions.map((each) => ({ ...each, items: each.items.map(unsupported) })));
  const { undone } = await running.reconciler.run();
  assert.equal(ownProblem(undone), undefined, 'the node takes pods');
  assert.match(unguarded(undone) ?? '', /jump nowhere/);
  assert.deepEqual(failures(undone), [], 'no line for each of its elements');
  assert.match(namespace.ip('link show veth1'), /master cni0/);
  assert.match(namespace.run('nft', 'list tables'), /table ip flatnet-pods/);

  // Policies judge by addresses, which pods must not choose.
  const policy = { onChange: 'cut', offload: false, logDenied: false, logGroup: 7 } as const;
  const facts = factsOf(PLAN);
  const policed = desiredState({ ...facts, network: { ...facts.network, policy }, pods: [POD] });
  running.wantAll(policed.contributions.map((each) => ({ ...each, items: each.items.map(unsupported) })));
  assert.match(ownProblem((await running.reconciler.run()).undone) ?? '', /jump nowhere/, 'it takes none');

  running.wantAll(contributions);
  await running.settled();
  assert.match(namespace.run('nft', 'list table bridge flatnet-bridge'), /"veth1" \. 02:00:00:00:00:07/);
});
