import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import fc from 'fast-check';
import type { LocalPod } from '../../src/cluster/node.ts';
import type { Item } from '../../src/state/item.ts';
import { factsOf, nodesOf, type Plan, selfOf } from '../backends/cluster.ts';
import { composedState } from '../desired/composed.ts';
import { Namespace, NO_KERNEL, Running } from './namespace.ts';

const SIZE = 6;
const PODS = ['veth1', 'veth2'];
const BACKENDS: readonly Plan['backend'][] = [
  { Type: 'vxlan' },
  { Type: 'vxlan', DirectRouting: true },
  { Type: 'vxlan', GBP: true },
  { Type: 'vxlan', VNI: 7, udpChecksum: true },
  { Type: 'vxlan', MTU: 1400, Learning: true },
  { Type: 'vxlan-md' },
  { Type: 'vxlan-md', VNI: 9, DirectRouting: true, checksum: true },
  { Type: 'host-gw' },
];

/** The state of the cluster. */
type World = { backend: number; gone: Set<number>; moved: Map<number, number>; pods: Set<number> };

/** External changes to the host. Each is possible on a fully configured node. */
const DAMAGES: readonly string[] = [
  'link del flannel.1',
  'link set flannel.1 down',
  'link set flannel.1 mtu 1280',
  'link set flannel-v6.1 address 02:00:00:00:00:77',
  'link del flannel-v6.1',
  'link del cni0',
  'link set cni0 down',
  'link set veth1 nomaster',
  'link set eth0 down',
  'route flush proto 110',
  '-6 route flush proto 110',
  'neigh flush dev flannel.1 nud permanent',
  'addr flush dev cni0',
  'route add 10.222.0.0/24 dev eth0 proto 110',
  'route replace 10.0.3.0/24 dev eth0',
  'addr add 10.66.0.1/32 dev flannel.1',
];

const step = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.record({ do: fc.constant('damage' as const), which: fc.nat(DAMAGES.length - 1) }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ do: fc.constant('gone' as const), which: fc.integer({ min: 1, max: SIZE - 1 }) }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ do: fc.constant('moved' as const), which: fc.integer({ min: 1, max: SIZE - 1 }) }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant('backend' as const), which: fc.nat(BACKENDS.length - 1) }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('pod' as const), which: fc.nat(PODS.length - 1) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('restart' as const), which: fc.nat(0) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('settle' as const), which: fc.nat(0) }) },
);

function itemsOf(world: World): readonly Item[] {
  const backend = BACKENDS[world.backend] ?? { Type: 'vxlan' };
  const plan: Plan = { size: SIZE, families: [4, 6], backend, networks: 1 };
  const peers = nodesOf(plan)
    .map((node, i) => {
      const salt = world.moved.get(i) ?? 0;
      return salt === 0 ? node : selfOf(plan, i, salt).node;
    })
    .filter((_, i) => !world.gone.has(i));
  const pods = [...world.pods].map((i): LocalPod => {
    return {
      containerId: `c${i}`,
      labels: {},
      ifName: 'eth0',
      hostDevice: PODS[i] ?? '',
      netns: '',
      addresses: [],
    };
  });
  return composedState({ ...factsOf(plan, 0, peers), pods }).items;
}

function flip<T>(set: Set<T>, value: T): void {
  if (!set.delete(value)) set.add(value);
}

test('each kind of damage is possible and gets repaired', { skip: NO_KERNEL }, async () => {
  const plan: Plan = { size: 1, families: [4, 6], backend: { Type: 'vxlan' }, networks: 1 };
  using namespace = new Namespace(plan, PODS);
  const items = itemsOf({ backend: 0, gone: new Set(), moved: new Map(), pods: new Set([0]) });
  using running = new Running(namespace);
  running.want(items);
  await running.settled();
  for (const damage of DAMAGES) {
    // Throws if it fails: a misspelt command would go unnoticed in the random runs.
    namespace.ip(damage);
    namespace.ip('link set eth0 up');
    await running.settled();
    assertToolsAgree(namespace, items);
  }
});

test('whatever happens, the kernel ends up in exactly the desired state', { skip: NO_KERNEL }, async () => {
  const plan: Plan = { size: 1, families: [4, 6], backend: { Type: 'vxlan' }, networks: 1 };
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 30, maxLength: 60 }), async (steps) => {
      using namespace = new Namespace(plan, PODS);
      const world: World = { backend: 0, gone: new Set(), moved: new Map(), pods: new Set([0]) };
      let running = new Running(namespace);
      running.want(itemsOf(world));
      try {
        for (const { do: what, which } of [...steps, { do: 'settle' as const, which: 0 }]) {
          if (what === 'damage') harm(namespace, DAMAGES[which] ?? '');
          else if (what === 'gone') flip(world.gone, which);
          else if (what === 'moved') world.moved.set(which, ((world.moved.get(which) ?? 0) + 1) % 3);
          else if (what === 'backend') world.backend = which;
          else if (what === 'pod') flip(world.pods, which);
          else if (what === 'restart') {
            running[Symbol.dispose]();
            await running.reconciler.idle();
            running = new Running(namespace);
          } else {
            harm(namespace, 'link set eth0 up');
            await running.settled(3000);
            assertToolsAgree(namespace, itemsOf(world));
          }
          running.want(itemsOf(world));
          await sleep(which % 4 === 0 ? 0 : 5 * which);
        }
      } finally {
        running[Symbol.dispose]();
      }
    }),
    { numRuns: 4, endOnFailure: true },
  );
});

/** Messages of `ip` if there is nothing to damage, or the damage is already done. */
const NO_EFFECT =
  /Cannot find device|does not exist|No such (?:process|device|file)|Network is (?:down|unreachable)|nexthop is not up|File exists|Nothing to flush|address already assigned/;

function harm(namespace: Namespace, command: string): void {
  try {
    namespace.ip(command);
  } catch (error) {
    if (!NO_EFFECT.test(String(error))) throw error;
  }
}

/** Checks the state with the standard tools instead of our own dump. */
function assertToolsAgree(namespace: Namespace, items: readonly Item[]): void {
  const lines = (text: string) => text.split('\n').filter(Boolean).length;
  const count = (kind: Item['kind'], dev?: string) =>
    items.filter((item) => item.kind === kind && (dev === undefined || ('dev' in item && item.dev === dev)))
      .length;
  assert.equal(
    lines(namespace.ip('-4 route show proto 110')) + lines(namespace.ip('-6 route show proto 110')),
    count('route'),
  );
  for (const item of items) {
    if (item.kind !== 'link' || item.link.type !== 'vxlan') continue;
    assert.equal(lines(namespace.bridge(`fdb show dev ${item.name}`)), count('fdb', item.name), item.name);
    const neighbours = namespace.ip(`neigh show nud permanent dev ${item.name}`);
    assert.equal(lines(neighbours), count('neighbour', item.name), item.name);
  }
}
