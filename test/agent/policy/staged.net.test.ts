import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { policyFigures } from '../../../src/agent/policy/figures.ts';
import { netnsPath } from '../../../src/linux/netns.ts';
import { UdpSocket } from '../../../src/linux/udp.ts';
import type { Written } from '../../../src/policy/collect.ts';
import { WEB } from '../../policy/observe/policies.ts';
import { PODS, RoutedNode } from '../../policy/routed-node.ts';
import { NO_KERNEL, Running } from '../../state/namespace.ts';
import { inForceFor } from './in-force.ts';

const STAGED: readonly Written[] = [
  {
    kind: 'StagedKubernetesNetworkPolicy',
    namespace: 'default',
    name: 'open',
    spec: {
      podSelector: { matchLabels: { app: 'web' } },
      ingress: [{ ports: [{ protocol: 'UDP', port: 53 }] }],
    },
  },
  {
    kind: 'StagedKubernetesNetworkPolicy',
    namespace: 'default',
    name: 'quiet',
    spec: { podSelector: { matchLabels: { app: 'client' } }, policyTypes: ['Egress'] },
  },
];

const UNREADABLE = { podSelector: { matchLabels: { app: 'nobody' } }, ingress: 'none' };

const BROKEN: readonly Written[] = [
  { kind: 'NetworkPolicy', namespace: 'default', name: 'broken', spec: UNREADABLE },
  { kind: 'StagedKubernetesNetworkPolicy', namespace: 'default', name: 'one', spec: UNREADABLE },
  { kind: 'StagedKubernetesNetworkPolicy', namespace: 'default', name: 'two', spec: UNREADABLE },
];

test('staged policies decide nothing; what they would is counted for each', { skip: NO_KERNEL }, async () => {
  using node = new RoutedNode();
  using running = new Running({ path: netnsPath(node.name) });
  const [a = assert.fail(), b = assert.fail(), c = assert.fail()] = PODS;
  const names = new Map([
    [a, 'client'],
    [b, 'web'],
    [c, 'other'],
  ]);
  const inForce = inForceFor(names, [WEB, ...STAGED, ...BROKEN]);
  running.wantAll(inForce.contributions);
  await running.settled();
  using receiver = UdpSocket.open(node.at(b), { ip: b, port: 53 });
  for (const [from, port] of [
    [a, 53],
    [a, 53],
    [a, 54],
    [c, 53],
    [c, 53],
    [c, 53],
  ] as const) {
    using socket = UdpSocket.open(node.at(from));
    socket.send(Buffer.from(names.get(from) ?? ''), { ip: b, port });
  }
  await sleep(50);
  const arrived: string[] = [];
  for (let data = receiver.receive(); data; data = receiver.receive()) arrived.push(data.toString());
  assert.deepEqual(arrived, ['client', 'client']);
  const { staged, denied, policies, refused, refusedStaged } = await policyFigures(
    inForce,
    netnsPath(node.name),
  );
  assert.deepEqual({ policies, refused, refusedStaged }, { policies: 6, refused: 1, refusedStaged: 2 });
  assert.deepEqual(denied, { ingress: 4, egress: 0, unprotected: 0 });
  assert.deepEqual(
    staged.toSorted((one, other) => (one.policy < other.policy ? -1 : 1)),
    [
      { policy: 'StagedKubernetesNetworkPolicy default/open', wouldDeny: 0, wouldAllow: 3 },
      // Also the one that is denied anyway, at the other end.
      { policy: 'StagedKubernetesNetworkPolicy default/quiet', wouldDeny: 3, wouldAllow: 0 },
    ],
  );
  running.wantAll(inForceFor(names, [WEB]).contributions);
  await running.settled();
  assert.throws(() => node.run('nft', 'list', 'table', 'ip', 'flatnet-staged'));
});
