import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { LocalPod } from '../../src/cluster/node.ts';
import { desiredState } from '../../src/desired/desired.ts';
import { isOfPods } from '../../src/desired/of-pods.ts';
import { parseIp } from '../../src/ip/address.ts';
import { parseCidr } from '../../src/ip/cidr.ts';
import { parseMac } from '../../src/ip/mac.ts';
import { keyOf } from '../../src/state/item.ts';
import { factsOf, type Plan } from '../backends/cluster.ts';

const PLAN: Plan = { size: 3, families: [4, 6], backend: { Type: 'vxlan' }, networks: 1 };

function pod(name: string, wiring?: 'routed'): LocalPod {
  return {
    containerId: name,
    ifName: 'eth0',
    labels: {},
    hostDevice: name,
    netns: '',
    namespace: 'default',
    name,
    ...(wiring && { wiring }),
    mac: parseMac('02:00:00:00:00:07'),
    addresses: ['10.0.1.7', '10.77.0.1', 'fd10:0:0:1::7'].map(parseIp),
    allowedSources: [parseCidr('192.0.2.0/24')],
    hostPorts: [
      { protocol: 'tcp', hostPort: 80, containerPort: 80 },
      { protocol: 'udp', hostPort: 81, containerPort: 80, hostIp: parseIp('192.0.2.1') },
    ],
  };
}

test('what only pods have in tables is known as theirs, and nothing else', () => {
  const facts = factsOf(PLAN);
  const network = { ...facts.network, allowedSources: [parseCidr('192.0.2.0/24')] };
  const keys = { pods: new Set<string>(), others: new Set<string>() };
  const { contributions } = desiredState({
    ...facts,
    network,
    pods: [pod('veth1'), pod('cali1', 'routed')],
  });
  for (const { owner, items } of contributions)
    for (const item of items) {
      if (item.kind !== 'nft-element') assert.ok(!isOfPods(item, true), keyOf(item));
      else if (isOfPods(item, true)) keys.pods.add(`${item.table} ${item.set}`);
      else keys.others.add(`${item.table} ${item.set}`);
      if (owner.part === 'pod' && item.kind === 'nft-element') assert.ok(isOfPods(item, true), keyOf(item));
      if (isOfPods(item, true))
        assert.ok(['pod', 'guard', 'wiring'].includes(owner.part), `${owner.part} ${keyOf(item)}`);
    }
  for (const set of ['flatnet-host-ports ports', 'flatnet-host-ports addresses', 'flatnet-host-ports near'])
    assert.ok(keys.pods.has(set), set);
  assert.ok(keys.pods.has('flatnet-masquerade strays'), [...keys.pods].join());
  assert.ok(keys.others.has('flatnet-vxlan nodes') && keys.others.has('flatnet-host-ports own'));
});
