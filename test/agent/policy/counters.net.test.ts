import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readCounters } from '../../../src/agent/policy/counters.ts';
import { netnsPath } from '../../../src/linux/netns.ts';
import { UdpSocket } from '../../../src/linux/udp.ts';
import { countedItems } from '../../../src/policy/observe/counts.ts';
import { inForce } from '../../../src/policy/observe/in-force.ts';
import { compiledFor, podOf, WEB } from '../../policy/observe/policies.ts';
import { PODS, RoutedNode } from '../../policy/routed-node.ts';
import { NO_KERNEL, Running } from '../../state/namespace.ts';

test('packets are counted for the rule that allows them, and for isolation', {
  skip: NO_KERNEL,
}, async () => {
  using node = new RoutedNode();
  using running = new Running({ path: netnsPath(node.name) });
  const [a = assert.fail(), b = assert.fail(), c = assert.fail()] = PODS;
  const [client, web, other] = [podOf('client', a), podOf('web', b), podOf('other', c)];
  const { tables, directory, pods, facts } = compiledFor([client, web, other], [WEB]);
  running.want([...tables, ...directory, ...[...pods.values()].flatMap(({ items }) => items)]);
  await running.settled();
  const decided = pods.get(web)?.decided ?? [];
  const count = async () => {
    const counters = await readCounters(tables, countedItems(web, decided), netnsPath(node.name));
    const [ingress] = inForce(facts.tiers, web, facts.names, { decided, differing: [] }, counters).directions;
    return [ingress?.tiers[0]?.policies[0]?.rules[0]?.count?.packets, ingress?.denied.packets];
  };
  assert.deepEqual(await count(), [0, 0]);
  for (const [from, port] of [
    [a, 53],
    [a, 53],
    [a, 54],
    [c, 53],
    [c, 53],
  ] as const) {
    using socket = UdpSocket.open(node.at(from));
    socket.send(Buffer.from('?'), { ip: b, port });
  }
  assert.deepEqual(await count(), [2, 3]);
});
