import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { parseIp } from '../../src/ip/address.ts';
import { parseCidr } from '../../src/ip/cidr.ts';
import { Kernel } from '../../src/state/kernel.ts';
import type { RouteItem } from '../../src/state/kinds/route.ts';
import { factsOf, type Plan } from '../backends/cluster.ts';
import { composedState } from '../desired/composed.ts';
import { Namespace, NO_KERNEL, Running } from './namespace.ts';

const VXLAN: Plan = { size: 4, families: [4, 6], backend: { Type: 'vxlan' }, networks: 1 };
const HOST_GW: Plan = { ...VXLAN, backend: { Type: 'host-gw' } };

/** Routes of other programs in the slots of two peers' routes, as `ip route` shows them. */
const FOREIGN = [
  '10.0.2.0/24 via 172.16.0.9 dev eth0 proto static',
  '10.0.2.0/24 dev other0 proto kernel scope link src 10.0.2.77',
  '10.0.2.0/24 via 172.16.0.9 dev eth0 proto dhcp',
  '10.0.2.0/24 via 172.16.0.9 dev eth0 proto bird',
  '10.0.2.0/24 via 172.16.0.9 dev eth0 proto 77 mtu lock 1300',
  '10.0.2.0/24 via 172.16.0.3 dev eth0 proto static',
  'blackhole 10.0.2.0/24 proto static',
  'unreachable 10.0.2.0/24 proto static',
  'fd10:0:0:2::/64 via fd00::99 dev eth0 proto static metric 1024',
  'fd10:0:0:2::/64 dev other0 proto static metric 1024',
  'blackhole fd10:0:0:2::/64 dev lo proto static metric 1024',
  'fd10:0:0:2::/64 via fd00::99 dev eth0 proto static metric 100',
] as const;

const isIpv6 = (route: string): boolean => route.includes('::');
const dstOf = (route: string): string => /\S+\/\d+/.exec(route)?.[0] ?? '';

/** The routes to a destination, without what only describes the device. */
function routesTo(namespace: Namespace, dst: string): string[] {
  return namespace
    .ip(`${isIpv6(dst) ? '-6 ' : ''}route show exact ${dst}`)
    .split('\n')
    .map((line) => line.replace(/ linkdown| pref medium| error -?\d+/g, '').trim())
    .filter(Boolean);
}

function withDevice(plan: Plan): Namespace {
  const namespace = new Namespace(plan);
  namespace.ip('link add other0 type veth peer name other1');
  namespace.ip('link set other0 up');
  namespace.ip('link set other1 up');
  namespace.ip('address add 10.0.2.77/32 dev other0');
  return namespace;
}

/** Waits for the reconciler to have left exactly this route alone; returns what it says about it. */
async function reasonFor({ reconciler }: Running, dst: string): Promise<string> {
  for (let i = 0; i < 100; i++) {
    const found = reconciler.undone.find(({ change: { item } }) => item.kind === 'route' && item.dst === dst);
    if (found) return found.reason;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  throw new Error(`nothing is said about ${dst}`);
}

/** The command that a reason ends with. */
function commandIn(reason: string): string {
  return /: ip (route del .*)$/.exec(reason)?.[1] ?? assert.fail(reason);
}

describe('a route of another program', { skip: NO_KERNEL }, () => {
  for (const plan of [VXLAN, HOST_GW]) {
    const { items } = composedState(factsOf(plan));
    for (const foreign of FOREIGN) {
      const title = `${plan.backend.Type}: ${foreign}`;
      const dst = dstOf(foreign);
      const isPeers = ({ item }: { item: { kind: string; dst?: string } }): boolean =>
        item.kind === 'route' && item.dst === dst;

      test(`${title}: is left alone, named with the command that removes it, and followed by ours`, async () => {
        using namespace = withDevice(plan);
        namespace.ip(`route add ${foreign}`);
        const before = routesTo(namespace, dst);
        assert.equal(before.length, 1);
        using running = new Running(namespace);
        running.want(items);
        await running.settled(3000, isPeers);
        const reason = await reasonFor(running, dst);
        assert.deepEqual(routesTo(namespace, dst), before);
        assert.match(reason, new RegExp(`proto ${/proto (\S+)/.exec(foreign)?.[1]}; `));
        namespace.ip(commandIn(reason));
        await running.settled(1000);
        assert.equal(running.reconciler.undone.length, 0);
      });

      test(`${title}: may replace ours at any time`, async () => {
        using namespace = withDevice(plan);
        // An addition sees no route of another metric: the regular check does.
        using running = new Running(namespace, { interval: 1000 });
        running.want(items);
        await running.settled();
        namespace.ip(`route replace ${foreign}`);
        // Ours may stay behind it.
        const others = () => routesTo(namespace, dst).filter((route) => !route.includes('proto 110'));
        const after = others();
        assert.equal(after.length, 1);
        assert.match(await reasonFor(running, dst), /another program's route/);
        assert.deepEqual(others(), after);
        // The peer leaves: what is not ours stays.
        running.want(items.filter((item) => !isPeers({ item })));
        await running.settled();
        assert.deepEqual(routesTo(namespace, dst), after);
        running.want(items);
        await reasonFor(running, dst);
        namespace.ip(`route del ${foreign}`);
        await running.settled(1000);
      });
    }

    test(`${plan.backend.Type}: with several next hops`, async () => {
      using namespace = withDevice(plan);
      const hops = 'nexthop via 172.16.0.8 dev eth0 nexthop via 172.16.0.9 dev eth0';
      namespace.ip(`route add 10.0.2.0/24 proto static ${hops}`);
      const before = namespace.ip('route show exact 10.0.2.0/24');
      using running = new Running(namespace);
      running.want(items);
      const reason = await reasonFor(running, '10.0.2.0/24');
      assert.equal(namespace.ip('route show exact 10.0.2.0/24'), before);
      namespace.ip(commandIn(reason));
      await running.settled(1000);
    });
  }

  test('on a device that vanishes: ours follows at once, although IPv4 routes go unannounced', async () => {
    const { items } = composedState(factsOf(HOST_GW));
    using namespace = withDevice(HOST_GW);
    namespace.ip('route add 10.0.2.0/24 dev other0 proto static');
    using running = new Running(namespace);
    running.want(items);
    await reasonFor(running, '10.0.2.0/24');
    namespace.ip('link del other0');
    await running.settled(1000);
  });

  test('in front of ours: ours returns', async () => {
    const { items } = composedState(factsOf(HOST_GW));
    using namespace = withDevice(HOST_GW);
    using running = new Running(namespace);
    running.want(items);
    await running.settled();
    namespace.ip('route prepend 10.0.2.0/24 via 172.16.0.9 dev eth0 proto static');
    await reasonFor(running, '10.0.2.0/24');
    const both = routesTo(namespace, '10.0.2.0/24');
    assert.equal(both.length, 2, 'ours stays behind it');
    // The peer leaves, and returns.
    running.want(items.filter((item) => !(item.kind === 'route' && item.dst === '10.0.2.0/24')));
    await running.settled();
    assert.deepEqual(routesTo(namespace, '10.0.2.0/24'), both.slice(0, 1));
    running.want(items);
    namespace.ip(commandIn(await reasonFor(running, '10.0.2.0/24')));
    await running.settled(1000);
  });
});

test('BIRD’s route stands beside ours: while the backend changes, one takes over from the other', {
  skip: NO_KERNEL,
}, async () => {
  const { items } = composedState(factsOf(HOST_GW));
  using namespace = new Namespace(HOST_GW);
  namespace.ip('route add fd10:0:0:2::/64 via fd00::3 dev eth0 proto bird metric 32');
  namespace.ip('route add 10.0.2.0/24 via 172.16.0.3 dev eth0 proto bird metric 32');
  using running = new Running(namespace);
  running.want(items);
  await running.settled();
  assert.equal(routesTo(namespace, 'fd10:0:0:2::/64').length, 2);
  assert.equal(routesTo(namespace, '10.0.2.0/24').length, 2);
});

const AFTERWARDS = [
  {
    dst: '10.0.2.0/24',
    near: ['172.16.0.3', '172.16.0.4'],
    far: '192.0.2.1',
    other: '172.16.0.9',
    metric: '',
  },
  {
    dst: 'fd10:0:0:2::/64',
    near: ['fd00::3', 'fd00::4'],
    far: 'fd99::1',
    other: 'fd00::99',
    metric: ' metric 1024',
  },
] as const;

for (const { dst, near, far, other, metric } of AFTERWARDS) {
  const ours = (via: string): RouteItem => ({
    kind: 'route',
    dst: parseCidr(dst),
    type: 'unicast',
    dev: 'eth0',
    via: parseIp(via),
    protocol: 110,
  });
  const foreign = `${dst} via ${other} dev eth0 proto static${metric}`;
  const text = (via: string): string => `${dst} via ${via} dev eth0 proto 110${metric}`;

  describe(`a route that another program adds after the kernel was read: ${dst}`, { skip: NO_KERNEL }, () => {
    test('is not replaced by an addition', async () => {
      using namespace = new Namespace(HOST_GW);
      using kernel = new Kernel({ netns: namespace.path });
      await kernel.read(new Map());
      namespace.ip(`route add ${foreign}`);
      const { failed } = await kernel.apply([[{ action: 'add', item: ours(near[0]) }]]);
      assert.equal(failed.length, 1);
      assert.deepEqual(routesTo(namespace, dst), [foreign]);
    });

    test('is not replaced by a change', async () => {
      using namespace = new Namespace(HOST_GW);
      using kernel = new Kernel({ netns: namespace.path });
      await kernel.read(new Map());
      namespace.ip(`route add ${foreign}`);
      const [was, item] = [ours(near[0]), ours(near[1])];
      await kernel.apply([[{ action: 'change', item, was }]]);
      assert.equal(routesTo(namespace, dst)[0], foreign);
    });

    test('is not replaced together with ours, as one more next hop of the same route', async () => {
      using namespace = withDevice(HOST_GW);
      using kernel = new Kernel({ netns: namespace.path });
      await kernel.read(new Map());
      const [was, item] = [ours(near[0]), ours(near[1])];
      await kernel.apply([[{ action: 'add', item: was }]]);
      namespace.ip(`route append ${foreign}`);
      await kernel.apply([[{ action: 'change', item, was }]]);
      assert.ok(namespace.ip(`${isIpv6(dst) ? '-6 ' : ''}route show exact ${dst}`).includes(`via ${other} `));
    });

    test('a change of ours leaves one route, and never none', async () => {
      using namespace = new Namespace(HOST_GW);
      using kernel = new Kernel({ netns: namespace.path });
      await kernel.read(new Map());
      const [was, item] = [ours(near[0]), ours(near[1])];
      await kernel.apply([[{ action: 'add', item: was }]]);
      const { done } = await kernel.apply([[{ action: 'change', item, was }]]);
      assert.equal(done.length, 1);
      assert.deepEqual(routesTo(namespace, dst), [text(near[1])]);
      // The new gateway can't be reached: the old one stays.
      const lost = ours(far);
      const { failed } = await kernel.apply([[{ action: 'change', item: lost, was: item }]]);
      assert.equal(failed.length, 1);
      assert.deepEqual(routesTo(namespace, dst), [text(near[1])]);
    });

    for (const [left, what] of [
      [near[1], 'as it is wanted'],
      [other, 'of an earlier change'],
    ] as const) {
      test(`nor does a substitute that a crash has left, ${what}, keep it from its change`, async () => {
        using namespace = new Namespace(HOST_GW);
        using kernel = new Kernel({ netns: namespace.path });
        await kernel.read(new Map());
        const [was, item] = [ours(near[0]), ours(near[1])];
        await kernel.apply([[{ action: 'add', item: was }]]);
        if (isIpv6(dst)) namespace.ip(`route add ${dst} via ${left} dev eth0 proto 110 metric 1023`);
        const { failed } = await kernel.apply([[{ action: 'change', item, was }]]);
        assert.deepEqual(failed, []);
        assert.deepEqual(routesTo(namespace, dst), [text(near[1])]);
      });
    }
  });
}

test('a rule of another program that is otherwise equal to ours is left alone', {
  skip: NO_KERNEL,
}, async () => {
  using namespace = new Namespace(HOST_GW);
  const foreign = 'from 10.1.0.0/16 lookup 100 proto static';
  const rules = (): string[] => namespace.ip('rule show').match(/(?<=500:\s).*/g) ?? [];
  namespace.ip('rule add priority 500 from 10.1.0.0/16 lookup 100 protocol static');
  using running = new Running(namespace);
  const from = parseCidr('10.1.0.0/16');
  const rule = { kind: 'rule', family: 4, priority: 500, table: 100, from, protocol: 110 } as const;
  for (let i = 0; i < 2; i++) {
    running.want([rule]);
    await running.settled();
    assert.deepEqual(rules(), [foreign, 'from 10.1.0.0/16 lookup 100 proto 110']);
    running.want([]);
    await running.settled();
    assert.deepEqual(rules(), [foreign]);
  }
});
