import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Node } from '../../src/cluster/node.ts';
import type { Facts } from '../../src/desired/desired.ts';
import { parseIp } from '../../src/ip/address.ts';
import { parseCidr } from '../../src/ip/cidr.ts';
import { SILENT } from '../../src/log.ts';
import type { Item } from '../../src/state/item.ts';
import { command } from '../../src/state/print.ts';
import { Reconciler } from '../../src/state/reconciler.ts';
import { factsOf, type Plan } from '../backends/cluster.ts';
import { asOne, composedState } from '../desired/composed.ts';
import { Namespace, NO_KERNEL, Running } from './namespace.ts';

const VXLAN: Plan = { size: 4, families: [4, 6], backend: { Type: 'vxlan' }, networks: 1 };
const HOST_GW: Plan = { ...VXLAN, backend: { Type: 'host-gw' } };
const POD = {
  containerId: 'c1',
  labels: {},
  ifName: 'eth0',
  hostDevice: 'veth1',
  netns: '/n',
  addresses: [],
};

const withPod = (plan: Plan): Facts => ({ ...factsOf(plan), pods: [POD] });
const sorted = (text: string): string[] =>
  text
    .split('\n')
    .map((line) => line.trim())
    .filter(Boolean)
    .sort();

test("the kernel shows exactly what flannel's own commands produce, except for the route's protocol", {
  skip: NO_KERNEL,
}, async () => {
  const plan: Plan = { ...VXLAN, size: 3 };
  using ours = new Namespace(plan);
  using flannels = new Namespace(plan);
  using running = new Running(ours);
  const { items } = composedState(factsOf(plan));
  running.want(items);
  await running.settled();
  for (const [dev, family] of [
    ['flannel.1', 4],
    ['flannel-v6.1', 6],
  ] as const) {
    const local = factsOf(plan).self.underlay.addresses[family];
    flannels.ip(`link add ${dev} type vxlan id 1 local ${local} dev eth0 dstport 8472 nolearning`);
    flannels.ip(`link set ${dev} up`);
  }
  // The golden commands of flannel.md with this cluster's values, run by the tools themselves.
  for (const item of items) {
    if (item.kind !== 'neighbour' && item.kind !== 'fdb' && item.kind !== 'route') continue;
    const [program = '', ...args] = command(item, 'add').split(' ');
    flannels.run(program, ...args);
  }
  const { VtepMAC = '' } = Object(factsOf(plan).peers[1]?.backend.data[4]);
  assert.ok(sorted(ours.ip('neigh show dev flannel.1')).includes(`10.0.2.0 lladdr ${VtepMAC} PERMANENT`));
  assert.ok(
    sorted(ours.bridge('fdb show dev flannel.1')).includes(`${VtepMAC} dst 172.16.0.3 self permanent`),
  );
  assert.ok(
    sorted(ours.ip('route show')).includes('10.0.2.0/24 via 10.0.2.0 dev flannel.1 proto 110 onlink'),
  );
  const dumps = ['neigh show dev flannel.1', '-6 neigh show dev flannel-v6.1', 'route show dev flannel.1'];
  for (const what of dumps) {
    assert.deepEqual(sorted(ours.ip(what).replaceAll(' proto 110', '')), sorted(flannels.ip(what)), what);
  }
  const peers6 = (namespace: Namespace) =>
    sorted(namespace.ip('-6 route show dev flannel-v6.1')).filter((line) => line.includes(' via '));
  assert.deepEqual(
    peers6(ours).map((line) => line.replace(' proto 110', '')),
    peers6(flannels),
  );
  for (const dev of ['flannel.1', 'flannel-v6.1']) {
    assert.deepEqual(
      sorted(ours.bridge(`fdb show dev ${dev}`)),
      sorted(flannels.bridge(`fdb show dev ${dev}`)),
    );
  }
});

/** A host's settings for new devices, none of which suits ours. */
const DEFAULTS = [
  'ipv4/conf/default/forwarding=0',
  'ipv4/conf/default/rp_filter=1',
  'ipv6/conf/default/forwarding=0',
  'ipv6/conf/default/disable_ipv6=1',
  'ipv6/conf/default/accept_ra=2',
];

/** Each cuts off a pod, or will. */
const PORT_FAULTS = [
  'learning off',
  'flood off',
  'mcast_flood off',
  'bcast_flood off',
  'isolated on',
  'locked on',
  'neigh_suppress on',
  'proxy_arp on',
  'guard on',
  'root_block on',
  'vlan_tunnel on',
  'state 4',
];

const PORT_SETTINGS =
  /(?:hairpin|guard|root_block|learning|flood|[mb]cast_flood|neigh_suppress|proxy_arp|vlan_tunnel|isolated|locked) o[nf]+/g;

type Fault = [name: string, plan: Plan, harm: (namespace: Namespace) => void];
const faults: Fault[] = [
  ['a route is deleted', VXLAN, (ns) => ns.ip('route del 10.0.2.0/24')],
  ['an IPv6 route is deleted', VXLAN, (ns) => ns.ip('-6 route del fd10:0:0:2::/64')],
  ['a route is replaced', VXLAN, (ns) => ns.ip('route replace 10.0.2.0/24 dev eth0')],
  ['a neighbour is deleted', VXLAN, (ns) => ns.ip('neigh del 10.0.2.0 dev flannel.1')],
  [
    'a neighbour is no longer permanent',
    VXLAN,
    (ns) => ns.ip('neigh replace 10.0.2.0 lladdr 02:00:00:00:00:01 nud reachable dev flannel.1'),
  ],
  ['the FDB is emptied', VXLAN, (ns) => ns.bridge('fdb flush dev flannel.1')],
  [
    'flannel.1 goes down and up',
    VXLAN,
    (ns) => [ns.ip('link set flannel.1 down'), ns.ip('link set flannel.1 up')],
  ],
  ['flannel.1 goes down', VXLAN, (ns) => ns.ip('link set flannel.1 down')],
  ['flannel.1 is deleted', VXLAN, (ns) => ns.ip('link del flannel.1')],
  ['flannel-v6.1 is deleted', VXLAN, (ns) => ns.ip('link del flannel-v6.1')],
  ['the MAC of flannel.1 is changed', VXLAN, (ns) => ns.ip('link set flannel.1 address 02:00:00:00:00:09')],
  ['the MTU is changed', VXLAN, (ns) => ns.ip('link set flannel.1 mtu 1300')],
  ['the MTU of the bridge is changed', VXLAN, (ns) => ns.ip('link set cni0 mtu 1300')],
  ['an address is deleted', VXLAN, (ns) => ns.ip('addr del 10.0.1.1/24 dev cni0')],
  ['an address is added', VXLAN, (ns) => ns.ip('addr add 10.77.0.1/24 dev cni0')],
  ['cni0 is deleted', VXLAN, (ns) => ns.ip('link del cni0')],
  ['a pod is detached from the bridge', VXLAN, (ns) => ns.ip('link set veth1 nomaster')],
  ['hairpin is switched off', VXLAN, (ns) => ns.ip('link set veth1 type bridge_slave hairpin off')],
  ...PORT_FAULTS.map((options): Fault => {
    const harm = (ns: Namespace): void => {
      // A port without a carrier has no other state.
      ns.ip('link set c-veth1 up');
      ns.ip(`link set veth1 type bridge_slave ${options}`);
    };
    return [`port: ${options}`, VXLAN, harm];
  }),
  [
    'a pod’s host end is renamed',
    VXLAN,
    (ns) => [ns.ip('link set veth1 down'), ns.ip('link set veth1 name foo up')],
  ],
  ['a pod’s host end goes down', VXLAN, (ns) => ns.ip('link set veth1 down')],
  ['cni0 gets a spanning tree', VXLAN, (ns) => ns.ip('link set cni0 type bridge stp_state 1')],
  [
    'the underlay goes down and up',
    HOST_GW,
    (ns) => [ns.ip('link set eth0 down'), ns.ip('link set eth0 up')],
  ],
  [
    'the underlay loses its address for a moment',
    HOST_GW,
    (ns) => [
      ns.ip('addr flush dev eth0'),
      ns.ip('addr add 172.16.0.2/16 dev eth0'),
      ns.ip('addr add fd00::2/64 dev eth0 nodad'),
    ],
  ],
  ['our nft table is flushed', VXLAN, (ns) => ns.run('nft', 'flush table ip flatnet-masquerade')],
  ['our nft table is deleted', VXLAN, (ns) => ns.run('nft', 'delete table ip flatnet-masquerade')],
  ['one of our sets is flushed', VXLAN, (ns) => ns.run('nft', 'flush set ip flatnet-masquerade own')],
  [
    'an element is added to one of our sets',
    VXLAN,
    (ns) => ns.run('nft', 'add element ip flatnet-masquerade own { 192.0.2.0/24 }'),
  ],
  ['a table with a former name of ours is added', VXLAN, (ns) => ns.run('nft', 'add table inet flatnet')],
  [
    'a rule is added to our nft table',
    VXLAN,
    (ns) => ns.run('nft', 'add rule ip flatnet-masquerade postrouting accept'),
  ],
  ['a stray route with our protocol', VXLAN, (ns) => ns.ip('route add 10.99.0.0/24 dev eth0 proto 110')],
  ['a route is prepended to ours', VXLAN, (ns) => ns.ip('route prepend 10.0.2.0/24 via 172.16.0.9 dev eth0')],
  [
    'a second route in one slot',
    VXLAN,
    (ns) => ns.ip('route append 10.0.2.0/24 via 172.16.0.9 dev eth0 proto 110'),
  ],
  [
    'a stray neighbour',
    VXLAN,
    (ns) => ns.ip('neigh add 10.0.99.0 lladdr 02:00:00:00:00:01 nud permanent dev flannel.1'),
  ],
  ['a stray FDB entry', VXLAN, (ns) => ns.bridge('fdb add 02:00:00:00:00:07 dst 172.16.0.99 dev flannel.1')],
  ['forwarding is switched off', VXLAN, (ns) => ns.run('sysctl', '-qw', 'net/ipv4/ip_forward=0')],
  [
    'IPv6 forwarding is switched off',
    VXLAN,
    (ns) => ns.run('sysctl', '-qw', 'net/ipv6/conf/all/forwarding=0'),
  ],
  [
    'reverse path filters are strict',
    VXLAN,
    (ns) => ns.run('sysctl', '-qw', 'net/ipv4/conf/flannel.1/rp_filter=1'),
  ],
  [
    'forwarding of cni0 is switched off',
    VXLAN,
    (ns) => ns.run('sysctl', '-qw', 'net/ipv4/conf/cni0/forwarding=0'),
  ],
  [
    'IPv6 is disabled on every device',
    VXLAN,
    (ns) => ns.run('sysctl', '-qw', 'net/ipv6/conf/all/disable_ipv6=1'),
  ],
  [
    'devices of ours are made anew on a host whose defaults forbid what they need',
    VXLAN,
    (ns) => {
      ns.run('sysctl', '-qw', ...DEFAULTS.map((setting) => `net/${setting}`));
      for (const dev of ['cni0', 'flannel.1', 'flannel-v6.1']) ns.ip(`link del ${dev}`);
    },
  ],
];

for (const plan of [VXLAN, HOST_GW]) {
  test(`heals each fault within a second (${plan.backend.Type})`, { skip: NO_KERNEL }, async (t) => {
    using namespace = new Namespace(plan, ['veth1']);
    using running = new Running(namespace);
    running.want(composedState(withPod(plan)).items);
    await running.settled();
    // Tables in a fixed order: `nft list ruleset` sorts them by age.
    const nft = () =>
      namespace
        .run('nft', 'list', 'ruleset')
        .split(/^(?=table)/m)
        .sort()
        .join('');
    const ruleset = nft();
    const text = () =>
      [
        namespace.ip('route'),
        namespace.ip('-6 route show proto 110'),
        namespace.ip('-4 neigh show nud permanent'),
        namespace.ip('-d link show veth1').match(PORT_SETTINGS)?.join('\n') ?? '',
        namespace
          .ip('-d link show cni0')
          .match(/(?:stp_state|vlan_filtering) \d/g)
          ?.join('\n') ?? '',
      ].map((dump) => sorted(dump).map((line) => line.replace(/ linkdown| dead/g, '')));
    const before = text();
    for (const [name, at, harm] of faults) {
      if (at !== plan) continue;
      await sleep(30);
      running.warnings.length = 0;
      harm(namespace);
      const took = await running.settled(1000).catch((error: unknown) => {
        throw new Error(`${name}: ${error instanceof Error ? error.message : error}`);
      });
      for (let i = 0; nft() !== ruleset; i++) {
        assert.ok(i < 20, `${name}: the ruleset is not repaired`);
        await sleep(20);
      }
      assert.deepEqual(text(), before, name);
      t.diagnostic(`${name}: ${Math.round(took)} ms`);
    }
    await sleep(300);
    const settledReports = running.reports.length;
    await sleep(300);
    assert.equal(running.reports.length, settledReports, 'the reconciler keeps changing something');
  });
}

test('foreign state on the host stays as it is', { skip: NO_KERNEL }, async () => {
  using namespace = new Namespace(VXLAN);
  namespace.ip('route add 203.0.113.0/24 dev eth0 proto static');
  namespace.ip('route add 10.0.77.0/24 dev eth0 proto boot');
  namespace.ip('neigh add 172.16.0.99 lladdr 02:00:00:00:00:01 nud permanent dev eth0');
  namespace.ip('link add br7 type bridge');
  namespace.ip('addr add 192.0.2.1/24 dev br7');
  namespace.run('nft', 'add table ip other; add chain ip other x');
  const look = () => [
    namespace.ip('route show proto static'),
    namespace.ip('route show proto boot'),
    namespace.ip('neigh show dev eth0'),
    namespace.ip('-o addr show dev br7'),
    namespace.run('nft', 'list', 'table', 'ip', 'other'),
  ];
  const before = look();
  using running = new Running(namespace);
  running.want(composedState(factsOf(VXLAN)).items);
  await running.settled();
  running.want([]);
  await running.settled();
  assert.deepEqual(look(), before);
  assert.ok(!namespace.ip('link').includes('flannel'));
});

test('a device left by flannel is taken over in place, and leftovers on it are removed', {
  skip: NO_KERNEL,
}, async () => {
  const plan: Plan = { ...VXLAN, families: [4] };
  using namespace = new Namespace(plan);
  // With outer checksums, the kernel's default, which it cannot change.
  namespace.ip('link add flannel.1 type vxlan id 1 local 172.16.0.2 dev eth0 dstport 8472 nolearning');
  namespace.ip('link set flannel.1 up');
  namespace.ip('neigh add 10.0.99.0 lladdr 02:00:00:00:00:01 nud permanent dev flannel.1');
  namespace.ip('route add 10.0.2.0/24 via 10.0.2.0 dev flannel.1 onlink');
  const index = namespace.ip('-o link show flannel.1').split(':')[0];
  using running = new Running(namespace);
  running.want(composedState(factsOf(plan)).items);
  await running.settled();
  assert.equal(namespace.ip('-o link show flannel.1').split(':')[0], index);
  assert.doesNotMatch(namespace.ip('neigh'), /10\.0\.99\.0/);
  // Another VNI needs another device; the old one now carries our alias and is removed.
  const other = { ...plan, backend: { Type: 'vxlan', VNI: 9 } };
  running.want(composedState(factsOf(other)).items);
  await running.settled();
  assert.doesNotMatch(namespace.ip('link'), /flannel\.1:/);
  assert.match(namespace.ip('link'), /flannel\.9:/);
});

test('nothing is removed until pruning is allowed, then everything at once', {
  skip: NO_KERNEL,
}, async () => {
  using namespace = new Namespace(VXLAN);
  namespace.ip('route add 10.99.0.0/24 dev eth0 proto 110');
  using reconciler = new Reconciler({ netns: namespace.path, log: SILENT });
  reconciler.setDesired(asOne(composedState(factsOf(VXLAN)).items));
  await reconciler.run();
  reconciler.setDesired(asOne(composedState({ ...factsOf(VXLAN), peers: [] }).items));
  await reconciler.run();
  assert.match(namespace.ip('route'), /10\.99\.0\.0\/24/);
  assert.match(namespace.ip('route'), /10\.0\.2\.0\/24/);
  reconciler.allowPrune();
  const { done } = await reconciler.run();
  assert.equal(done.filter(({ action }) => action === 'delete').length, 3 * 8 + 1);
  assert.equal(namespace.ip('route show proto 110'), '');
  assert.deepEqual((await reconciler.run()).done, []);
});

test('without anything desired the kernel is not read, and permission to prune costs no second read', {
  skip: NO_KERNEL,
}, async () => {
  using namespace = new Namespace(VXLAN);
  const { items } = composedState(factsOf(VXLAN));
  using reconciler = new Reconciler({ netns: namespace.path, log: SILENT });
  const idle = await reconciler.run();
  assert.deepEqual([idle.full, idle.done], [false, []]);
  reconciler.setDesired(asOne(items));
  const first = await reconciler.run();
  assert.deepEqual([first.full, first.undone], [true, []]);
  reconciler.allowPrune();
  const second = await reconciler.run();
  assert.deepEqual([second.full, second.done], [false, []]);
  // The permission holds for whatever comes.
  namespace.ip('route add 10.99.0.0/24 dev eth0 proto 110');
  reconciler.setDesired(asOne([]));
  assert.equal((await reconciler.run()).full, true);
  assert.equal(namespace.ip('route show proto 110'), '');
});

test('what was unwanted when only some of it could be pruned goes once all may', {
  skip: NO_KERNEL,
}, async () => {
  using namespace = new Namespace(VXLAN);
  using reconciler = new Reconciler({ netns: namespace.path, log: SILENT });
  reconciler.setDesired(asOne(composedState(factsOf(VXLAN)).items));
  await reconciler.run();
  namespace.ip('route add 10.99.0.0/24 dev eth0 proto 110');
  namespace.ip('route add 10.98.0.0/24 dev flannel.1 proto 110');
  const isOnTunnel = (item: Item): boolean => item.kind === 'route' && item.dev === 'flannel.1';
  // By an agent that has just started.
  using another = new Reconciler({ netns: namespace.path, log: SILENT });
  another.setDesired(asOne(composedState(factsOf(VXLAN)).items));
  assert.deepEqual((await another.run()).done, []);
  another.allowPrune(isOnTunnel);
  assert.deepEqual(
    (await another.run()).done.map(({ item }) => item.kind === 'route' && item.dst),
    ['10.98.0.0/24'],
  );
  another.allowPrune();
  assert.deepEqual(
    (await another.run()).done.map(({ item }) => item.kind === 'route' && item.dst),
    ['10.99.0.0/24'],
  );
  assert.equal((await another.run()).full, false);
});

test('an absent underlay and an absent pod are awaited quietly', { skip: NO_KERNEL }, async () => {
  using namespace = new Namespace(VXLAN);
  namespace.ip('link set eth0 name later');
  using running = new Running(namespace);
  running.want(composedState(withPod(VXLAN)).items);
  await sleep(500);
  const warnings = running.warnings.length;
  assert.ok(warnings <= 2, JSON.stringify(running.warnings));
  assert.match(JSON.stringify(running.warnings), /device eth0 is absent/);
  assert.match(namespace.ip('addr show cni0'), /10\.0\.1\.1\/24/);
  namespace.ip('link add veth1 type veth peer name c1');
  namespace.ip('link set later down');
  namespace.ip('link set later name eth0');
  namespace.ip('link set eth0 up');
  await running.settled(1000);
  assert.match(namespace.ip('link show veth1'), /master cni0/);
});

test('a foreign device with our name is neither used nor touched', { skip: NO_KERNEL }, async () => {
  using namespace = new Namespace(VXLAN);
  namespace.ip('link add flannel.1 type veth peer name x');
  using running = new Running(namespace);
  running.want(composedState(factsOf(VXLAN)).items);
  const isOtherFamilyDone = () => namespace.ip('-6 route show proto 110').includes('fd10:0:0:2::');
  // The run warns at its end.
  for (let i = 0; i < 100 && !(isOtherFamilyDone() && running.warnings.length > 0); i++) await sleep(50);
  assert.match(JSON.stringify(running.warnings), /another kind has the name flannel\.1/);
  assert.match(namespace.ip('-d link show flannel.1'), /veth/);
  assert.doesNotMatch(namespace.ip('address show flannel.1'), /10\.0\.1\.0/);
  assert.equal(namespace.ip('route show dev flannel.1'), '');
  assert.match(namespace.ip('-6 route show proto 110'), /fd10:0:0:2::/, 'the other family works');
});

test('a peer returns with another MAC, address and subnet: exact state, and one change costs a few requests', {
  skip: NO_KERNEL,
}, async () => {
  using namespace = new Namespace(VXLAN);
  using running = new Running(namespace);
  const facts = factsOf(VXLAN);
  running.want(composedState(facts).items);
  await running.settled();
  const changed = (index: number, node: Node): Facts => ({
    ...facts,
    peers: facts.peers.map((peer, i) => (i === index ? node : peer)),
  });
  const [, second] = facts.peers;
  const moved = factsOf({ ...VXLAN, size: 9 }).peers[8];
  assert.ok(second && moved);
  await sleep(100);
  for (const node of [
    { ...moved, name: second.name, subnets: second.subnets },
    { ...moved, name: second.name },
    second,
  ]) {
    running.reports.length = 0;
    running.want(composedState(changed(1, node)).items);
    await running.settled();
    await sleep(50);
    assert.ok(
      running.reports.every((report) => !report.full),
      'the kernel was read as a whole',
    );
    assert.equal(running.reports.length, 1);
  }
});

test('a pod that reuses a device name is wired like the first', {
  skip: NO_KERNEL,
}, async () => {
  using namespace = new Namespace(VXLAN, ['veth1']);
  using running = new Running(namespace);
  running.want(composedState(withPod(VXLAN)).items);
  await running.settled();
  running.want(composedState(factsOf(VXLAN)).items);
  await running.reconciler.run();
  namespace.ip('link del veth1');
  namespace.ip('link add veth1 type veth peer name c-veth1');
  await sleep(100);
  running.want(composedState(withPod(VXLAN)).items);
  await running.reconciler.run();
  assert.match(namespace.ip('-d link show veth1'), /master cni0.*hairpin on/s);
});

test('a refused change is retried, reported once, and holds up nothing else', {
  skip: NO_KERNEL,
}, async () => {
  using namespace = new Namespace(HOST_GW);
  namespace.ip('addr del 172.16.0.2/16 dev eth0');
  using running = new Running(namespace);
  running.want(composedState(factsOf(HOST_GW)).items);
  // Requested directly, as an agent does; the retries are automatic.
  const { undone } = await running.reconciler.run();
  assert.equal(undone.length, 3);
  assert.match(String(undone[0]?.error), /Nexthop has invalid gateway/);
  assert.match(namespace.ip('-6 route show proto 110'), /fd10:0:0:2::/);
  await sleep(500);
  assert.equal(running.warnings.length, 1, JSON.stringify(running.warnings));
  const tries = running.reports.filter((report) => report.undone.length > 0).length;
  assert.ok(tries >= 2 && tries <= 10, `${tries} tries`);
  namespace.ip('addr add 172.16.0.2/16 dev eth0');
  await running.settled(1000);
});

test('a renamed device is recreated under its own name, and the renamed one is removed', {
  skip: NO_KERNEL,
}, async () => {
  using namespace = new Namespace(VXLAN, ['veth1']);
  using running = new Running(namespace);
  running.want(composedState(withPod(VXLAN)).items);
  await running.settled();
  for (const dev of ['flannel.1', 'flannel-v6.1', 'cni0']) {
    namespace.ip(`link set ${dev} down`);
    namespace.ip(`link set ${dev} name other`);
    await running.settled();
    assert.doesNotMatch(namespace.ip('link'), /other/);
  }
});

test('a foreign tunnel with the same VNI is left alone, holds up nothing else, and its removal is noticed', {
  skip: NO_KERNEL,
}, async () => {
  using namespace = new Namespace(VXLAN);
  namespace.ip('link add theirs type vxlan id 1 local 172.16.0.2 dev eth0 dstport 8472 nolearning');
  using running = new Running(namespace);
  running.want(composedState(factsOf(VXLAN)).items);
  const { undone } = await running.reconciler.run();
  assert.match(String(undone[0]?.error), /link add.*flannel\.1.*VNI/s);
  assert.match(namespace.ip('-d link show theirs'), /vxlan id 1 local 172\.16\.0\.2/);
  assert.match(namespace.ip('-6 route show dev flannel-v6.1'), /fd10:0:0:2::\/64/);
  assert.match(namespace.ip('addr show cni0'), /,UP>.*10\.0\.1\.1\/24/s);
  namespace.ip('link del theirs');
  await running.settled(5000);
  assert.deepEqual(running.reports.at(-1)?.undone, []);
});

test('rules, blackholes, tables, metrics and source addresses: created, recognized, removed', {
  skip: NO_KERNEL,
}, async () => {
  using namespace = new Namespace(VXLAN);
  using reconciler = new Reconciler({ netns: namespace.path, log: SILENT });
  reconciler.allowPrune();
  const route = { kind: 'route', type: 'unicast', dev: 'eth0', protocol: 110 } as const;
  const rule = { kind: 'rule', priority: 500, table: 100, protocol: 111 } as const;
  const items: Item[] = [
    { kind: 'route', type: 'blackhole', dst: parseCidr('10.0.1.0/24'), protocol: 111 },
    { kind: 'route', type: 'blackhole', dst: parseCidr('fd10:0:0:1::/64'), protocol: 111 },
    { ...route, dst: parseCidr('10.5.0.0/16'), via: parseIp('172.16.0.9'), table: 100, metric: 7 },
    { ...route, dst: parseCidr('10.5.0.0/16'), src: parseIp('172.16.0.2') },
    { ...route, dst: parseCidr('fd55::/64'), via: parseIp('fd00::9'), table: 1000, src: parseIp('fd00::2') },
    { ...rule, family: 4, from: parseCidr('10.0.1.0/24'), mark: 0x10, mask: 0xf0 },
    { ...rule, family: 4, to: parseCidr('10.9.0.0/16'), iif: 'eth0' },
    { ...rule, family: 6, from: parseCidr('fd10:0:0:1::/64'), mark: 5 },
  ];
  reconciler.setDesired(asOne(items));
  const first = await reconciler.run();
  assert.deepEqual([first.undone, first.done.length], [[], items.length]);
  using another = new Reconciler({ netns: namespace.path, log: SILENT });
  another.allowPrune();
  another.setDesired(asOne(items));
  assert.deepEqual((await another.run()).done, []);
  assert.match(namespace.ip('rule'), /500:\s+from 10\.0\.1\.0\/24 fwmark 0x10\/0xf0 lookup 100 proto 111/);
  assert.match(namespace.ip('route'), /^blackhole 10\.0\.1\.0\/24 proto 111/m);
  another.setDesired(asOne([]));
  assert.equal((await another.run()).undone.length, 0);
  assert.doesNotMatch(namespace.ip('rule') + namespace.ip('-6 rule'), /^500:/m);
  assert.doesNotMatch(
    namespace.ip('route show table all') + namespace.ip('-6 route show table all'),
    /proto 11[01]/,
  );
});

test('items that become desired while the kernel is being read are not pruned', {
  skip: NO_KERNEL,
}, async () => {
  using namespace = new Namespace(HOST_GW);
  const { items } = composedState(factsOf(HOST_GW));
  {
    using before = new Running(namespace);
    before.want(items);
    await before.settled();
  }
  // Like an agent at startup: it reads the kernel as soon as it knows something, and meanwhile learns of the
  // whole cluster.
  const done: string[] = [];
  using reconciler = new Reconciler({
    netns: namespace.path,
    log: SILENT,
    onReport: (report) => done.push(...report.done.map(({ action, item }) => `${action} ${item.kind}`)),
  });
  reconciler.setDesired(asOne(items.slice(0, 1)));
  const first = reconciler.run();
  // The run has begun to read, and done nothing else.
  await Promise.resolve();
  reconciler.setDesired(asOne(items));
  reconciler.allowPrune();
  await first;
  await reconciler.run();
  assert.deepEqual(done, []);
});

test('what is desired just as a run ends is not forgotten until the next one', {
  skip: NO_KERNEL,
}, async () => {
  using namespace = new Namespace(VXLAN);
  const routeTo = (dst: string): Item => ({
    kind: 'route',
    type: 'blackhole',
    dst: parseCidr(dst),
    protocol: 110,
  });
  // How many microtasks after the report: the run ends a few later.
  for (let delay = 0; delay < 12; delay++) {
    const [first, second] = [routeTo(`10.9.${delay}.0/24`), routeTo(`10.8.${delay}.0/24`)];
    let isAsked = false;
    const onReport = async (): Promise<void> => {
      if (isAsked) return;
      isAsked = true;
      for (let i = 0; i < delay; i++) await undefined;
      running.want([first, second]);
    };
    using running = new Running(namespace, { interval: 60_000, onReport });
    await sleep(50);
    isAsked = false;
    running.want([first]);
    const deadline = performance.now() + 1000;
    while (!namespace.ip('route').includes('10.9.') && performance.now() < deadline) await sleep(5);
    await running.settled(1000).catch((error: unknown) => assert.fail(`after ${delay}: ${error}`));
  }
});

test('whatever the host’s defaults, devices of ours forward, and no pod or peer moves the node’s routes', {
  skip: NO_KERNEL,
}, async () => {
  for (const families of [[4], [4, 6]] as const) {
    const plan: Plan = { ...VXLAN, families };
    using namespace = new Namespace(plan, ['veth1']);
    namespace.run('sysctl', '-qw', ...DEFAULTS.map((setting) => `net/${setting}`));
    using running = new Running(namespace);
    running.want(composedState(withPod(plan)).items);
    await running.settled();
    const setting = (path: string) => namespace.run('sysctl', '-n', `net/${path}`).trim();
    for (const dev of ['cni0', 'flannel.1', ...(families.length > 1 ? ['flannel-v6.1'] : [])]) {
      const family = dev === 'flannel-v6.1' ? 6 : 4;
      assert.equal(setting(`ipv${family}/conf/${dev}/forwarding`), '1', dev);
      assert.equal(setting(`ipv4/conf/${dev}/accept_redirects`), '0', dev);
      assert.equal(setting(`ipv6/conf/${dev}/accept_ra`), '0', dev);
      assert.equal(setting(`ipv6/conf/${dev}/accept_redirects`), '0', dev);
    }
    assert.equal(setting('ipv6/conf/veth1/accept_ra'), '0');
    if (families.length > 1) assert.equal(setting('ipv6/conf/flannel-v6.1/disable_ipv6'), '0');
  }
});

test('a device too narrow for IPv6 lacks its settings and needs none', { skip: NO_KERNEL }, async () => {
  using namespace = new Namespace(VXLAN, ['veth1']);
  using running = new Running(namespace);
  const facts = withPod({ ...VXLAN, families: [4] });
  const { self } = facts;
  running.want(
    composedState({ ...facts, self: { ...self, underlay: { ...self.underlay, mtu: 1300 } } }).items,
  );
  await running.settled();
  assert.match(namespace.ip('link show flannel.1'), /mtu 1250/);
  assert.deepEqual(running.reconciler.undone, []);
  assert.ok(running.reports.every(({ undone }) => undone.length === 0));
});
