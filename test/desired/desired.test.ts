import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { backendOf, configuredBackend } from '../../src/backends/registry.ts';
import { vxlan } from '../../src/backends/vxlan.ts';
import { Fields } from '../../src/cluster/fields.ts';
import type { Host } from '../../src/cluster/host.ts';
import type { Node } from '../../src/cluster/node.ts';
import { NO_RESOURCES } from '../../src/cluster/resources.ts';
import type { Facts } from '../../src/desired/desired.ts';
import { Memo } from '../../src/desired/memo.ts';
import { podMtu } from '../../src/desired/pod-mtu.ts';
import { type Family, type Ip, parseIp } from '../../src/ip/address.ts';
import { nthIp, parseCidr } from '../../src/ip/cidr.ts';
import { problemText } from '../../src/problem.ts';
import { command } from '../../src/state/print.ts';
import { factsOf, networkOf, nodesOf, type Plan, plans, selfOf } from '../backends/cluster.ts';
import { composedState } from './composed.ts';

const PLAN: Plan = { size: 3, families: [4], backend: { Type: 'vxlan' }, networks: 1 };

const golden = (facts: Facts, pattern: RegExp): string[] =>
  composedState(facts)
    .items.map((item) => command(item, 'add'))
    .filter((text) => pattern.test(text));

test('per peer exactly what flannel programs, the route last', () => {
  const facts = factsOf({ ...PLAN, size: 2 });
  const mac = 'VtepMAC' in Object(facts.peers[1]?.backend.data[4]) ? facts.peers[1]?.backend.data[4] : {};
  const { VtepMAC } = mac as { VtepMAC: string };
  assert.deepEqual(golden(facts, /10\.0\.2\.0|172\.16\.0\.3/), [
    "nft add element ip flatnet-vxlan nodes '{ 172.16.0.3 }'",
    `bridge fdb replace ${VtepMAC} dst 172.16.0.3 self permanent dev flannel.1`,
    `ip neigh replace 10.0.2.0 lladdr ${VtepMAC} nud permanent dev flannel.1`,
    'ip route replace 10.0.2.0/24 via 10.0.2.0 dev flannel.1 onlink',
  ]);
});

test('a device for all peers: per peer a neighbour, and a route with the remote end', () => {
  const commands = (backend: Plan['backend'], families: readonly Family[]) =>
    golden(
      factsOf({ ...PLAN, size: 2, families, backend }),
      /10\.0\.2\.0|fd10:0:0:2::|172\.16\.0\.3|fd00:0::3/,
    ).map((text) => text.replace(/lladdr \S+/, 'lladdr MAC'));
  assert.deepEqual(commands({ Type: 'vxlan-md', VNI: 9 }, [4]), [
    "nft add element ip flatnet-vxlan-md nodes '{ 172.16.0.3 }'",
    'ip neigh replace 10.0.2.0 lladdr MAC nud permanent dev flannel-vxlan',
    'ip route replace 10.0.2.0/24 encap ip id 9 src 172.16.0.2 dst 172.16.0.3 ttl 64 key via 10.0.2.0 dev flannel-vxlan onlink',
  ]);
  assert.deepEqual(commands({ Type: 'gre' }, [4]), [
    "nft add element ip flatnet-gre nodes '{ 172.16.0.3 }'",
    'ip neigh replace 10.0.2.0 lladdr MAC nud permanent dev flannel-gre',
    'ip route replace 10.0.2.0/24 encap ip id 0 src 172.16.0.2 dst 172.16.0.3 ttl 64 via 10.0.2.0 dev flannel-gre onlink',
  ]);
  assert.deepEqual(commands({ Type: 'ipip' }, [4]), [
    "nft add element ip flatnet-ipip nodes '{ 172.16.0.3 }'",
    'ip route replace 10.0.2.0/24 via 172.16.0.3 dev flannel.ipip onlink',
  ]);
});

test('one device carries both families, with one MAC and room for the larger header', () => {
  const { items } = composedState(factsOf({ ...PLAN, families: [4, 6], backend: { Type: 'geneve' } }));
  const devices = items.flatMap((item) =>
    item.kind === 'link' && item.name.startsWith('flannel') ? [item] : [],
  );
  assert.deepEqual(
    new Set(devices.map(({ name, mtu }) => `${name} ${mtu}`)),
    new Set(['flannel-geneve 1430']),
  );
  const { node } = selfOf({ ...PLAN, families: [4, 6], backend: { Type: 'geneve' } }, 0);
  assert.deepEqual(node.backend.data[4], node.backend.data[6]);
  assert.equal((node.backend.data[4] as { VtepMAC: string }).VtepMAC, devices[0]?.mac);
});

test('alloc: subnets and pods, and nothing for peers', () => {
  const facts = factsOf({ ...PLAN, backend: { Type: 'alloc' } });
  assert.deepEqual(golden(facts, /flannel|10\.0\.2\.0|10\.0\.3\.0/), []);
  assert.ok(golden(facts, /cni0/).length > 0);
});

test('host-gw and DirectRouting: one plain route', () => {
  for (const backend of [{ Type: 'host-gw' }, { Type: 'vxlan', DirectRouting: true }]) {
    assert.deepEqual(golden(factsOf({ ...PLAN, size: 2, backend }), /^ip .*(10\.0\.2\.0|172\.16\.0\.3)/), [
      'ip route replace 10.0.2.0/24 via 172.16.0.3 dev eth0',
    ]);
  }
});

test("BackendData matches flannel's byte for byte", () => {
  const { node } = selfOf(PLAN, 0);
  const text = JSON.stringify(node.backend.data[4]);
  assert.match(text, /^\{"VNI":1,"VtepMAC":"[0-9a-f:]{17}"\}$/);
});

test('every option of flannel, in any letter case', () => {
  const read = (text: object) => vxlan.options(new Fields(text, 'Backend'), NO_RESOURCES);
  const defaults = read({});
  assert.deepEqual(defaults, {
    vni: 1,
    port: 8472,
    mtu: undefined,
    learning: false,
    gbp: false,
    directRouting: false,
    udpChecksum: undefined,
    membersOnly: true,
    onDemand: false,
  });
  const all = {
    vni: 7,
    PORT: 4789,
    mtu: 1400,
    Learning: true,
    GBP: true,
    directrouting: true,
    membersonly: false,
    onDemand: true,
  };
  assert.deepEqual(read(all), {
    vni: 7,
    port: 4789,
    mtu: 1400,
    learning: true,
    gbp: true,
    directRouting: true,
    udpChecksum: undefined,
    membersOnly: false,
    onDemand: true,
  });
  assert.equal(read({ Port: 0 }).port, 8472);
  assert.throws(() => read({ VNI: 0x1000000 }), /Backend\.VNI: must be a whole number from 1 to 16777215/);
  assert.throws(() => backendOf('vxlam'), {
    code: 'CONFIG_INVALID',
    message: /Backend\.Type: unknown backend 'vxlam'/,
  });
});

test('pod MTU: underlay minus the largest overhead in use', () => {
  const mtu = (plan: Partial<Plan>) => {
    const whole = { ...PLAN, ...plan };
    const network = networkOf(whole);
    return podMtu(network, selfOf(whole, 0), configuredBackend(network));
  };
  assert.equal(mtu({}), 1450);
  assert.equal(mtu({ families: [6] }), 1430);
  assert.equal(mtu({ families: [4, 6] }), 1430);
  assert.equal(mtu({ backend: { Type: 'host-gw' }, families: [4, 6] }), 1500);
  assert.equal(mtu({ backend: { Type: 'vxlan', MTU: 9000 } }), 8950);
});

test('pod MTU: the narrowest path to a peer counts, a configured MTU overrides it, and neither costs the node its IPv6', () => {
  const mtus = (plan: Partial<Plan>, pathMtu: number, warned: readonly string[] = []) => {
    const facts = factsOf({ ...PLAN, ...plan });
    const self = { ...facts.self, underlay: { ...facts.self.underlay, pathMtu } };
    const { items, mtu, warnings } = composedState({ ...facts, self });
    assert.deepEqual(warnings.map(problemText), warned);
    const devices = items.flatMap((item) => (item.kind === 'link' ? [`${item.name} ${item.mtu}`] : []));
    return [mtu, ...devices];
  };
  const families: Family[] = [4, 6];
  assert.deepEqual(mtus({}, 1400), [1350, 'flannel.1 1350', 'cni0 1350']);
  assert.deepEqual(mtus({ backend: { Type: 'host-gw' } }, 1400), [1400, 'cni0 1400']);
  assert.deepEqual(mtus({ backend: { Type: 'vxlan', MTU: 1450 } }, 1300), [
    1400,
    'flannel.1 1400',
    'cni0 1400',
  ]);
  assert.deepEqual(mtus({ families }, 1400), [1330, 'flannel.1 1350', 'flannel-v6.1 1330', 'cni0 1330']);
  assert.deepEqual(mtus({ families }, 1350), [1280, 'flannel.1 1300', 'flannel-v6.1 1280', 'cni0 1280']);
  const lost =
    'IPv6: the narrowest path to a node carries 1200 bytes, and a tunnel needs 1350: on that path, ' +
    'IPv6 packets of more than 1130 bytes are lost';
  assert.deepEqual(mtus({ families }, 1200, [lost]), [
    1280,
    'flannel.1 1150',
    'flannel-v6.1 1280',
    'cni0 1280',
  ]);
  assert.deepEqual(mtus({ families, backend: { Type: 'host-gw' } }, 1200), [1280, 'cni0 1280']);
});

test('tunnel devices: checksums for IPv6, none for IPv4 unless configured', () => {
  const device = (backend: Plan['backend']) =>
    golden(factsOf({ ...PLAN, families: [4, 6], backend }), /^ip link add flannel/);
  const [v4, v6] = device({ Type: 'vxlan' });
  assert.match(
    v4 ?? '',
    /^ip link add flannel\.1 mtu 1450 .* local 172\.16\.0\.2 dev eth0 dstport 8472 nolearning noudpcsum /,
  );
  assert.match(
    v6 ?? '',
    /^ip link add flannel-v6\.1 mtu 1430 .* local fd00::2 dev eth0 dstport 8472 nolearning &&/,
  );
  assert.doesNotMatch(device({ Type: 'vxlan', udpChecksum: true })[0] ?? '', /noudpcsum/);
});

test('one peer changes: all other items stay the same objects', () => {
  fc.assert(
    fc.property(plans(8), fc.nat(7), (plan, which) => {
      const memo = new Memo();
      const peers = nodesOf(plan);
      const facts = factsOf(plan, 0, peers);
      const before = composedState(facts, memo);
      assert.deepEqual(composedState(facts), before);
      const changed = peers.map((node, i): Node => (i === which ? { ...node, labels: { a: 'b' } } : node));
      const kept = new Set(before.items.slice(0));
      const after = composedState({ ...facts, peers: changed }, memo);
      assert.deepEqual(after, before);
      const name = which === 0 ? undefined : changed[which]?.name;
      const theirs =
        name === undefined
          ? 0
          : composedState({ ...facts, peers: changed.filter((n) => n.name === name) }).items.length;
      const own = composedState({ ...facts, peers: [] }).items.length;
      const fresh = after.items.filter((item) => !kept.has(item)).length;
      // This node's few items are recomputed each time; of the peers only the changed one.
      assert.ok(fresh <= own + Math.max(0, theirs - own), `${fresh} fresh items`);
    }),
    { numRuns: 50 },
  );
});

test('a peer that cannot be served causes a warning and affects neither others nor its other family', () => {
  const plan: Plan = { ...PLAN, size: 5, families: [4, 6] };
  const [self, second, third, fourth, fifth] = nodesOf(plan);
  assert.ok(self && second && third && fourth && fifth);
  const peers: Node[] = [
    { ...second, backend: { type: 'host-gw', data: {} } },
    { ...third, subnets: [...self.subnets.slice(0, 1), ...third.subnets.slice(1)] },
    { ...fourth, backend: { ...fourth.backend, data: { 4: fourth.backend.data[4], 6: { VtepMAC: 'x' } } } },
    { ...fifth, addresses: {} },
  ];
  const { items, warnings } = composedState({ ...factsOf(plan), peers });
  assert.deepEqual(warnings.map(problemText), [
    "node1: uses backend 'host-gw', not 'vxlan': ignored",
    "node2: its subnet 10.0.1.0/24 overlaps this node's own: ignored",
    'node3: published no IPv6 VTEP MAC',
    'node4: has no public IPv4 address',
    'node4: has no public IPv6 address',
  ]);
  const routes = items.filter((item) => item.kind === 'route').map((item) => item.dst);
  assert.deepEqual(routes, [third.subnets[1], fourth.subnets[0]]);
});

test('a peer gets nothing that its own host or this node has, and no address that leads elsewhere', () => {
  const plan: Plan = { ...PLAN, size: 2, families: [4, 6] };
  const [self, peer] = nodesOf(plan);
  assert.ok(self && peer);
  const host: Host = {
    addresses: [parseIp('192.168.7.1')],
    networks: [{ cidr: parseCidr('10.0.2.128/25'), use: 'the network of eth1', isConnected: true }],
  };
  const facts = factsOf(plan);
  const about = (change: Partial<Node>): string[] => {
    const peers = [{ ...peer, ...change }];
    const { items, warnings } = composedState({ ...facts, self: { ...facts.self, host }, peers });
    const routes = items.filter((item) => item.kind === 'route').map((item) => item.dst);
    return [...warnings.map(problemText), ...routes];
  };
  const [, six] = peer.subnets;
  const near = facts.self.underlay.onLink[0] ?? assert.fail();
  assert.deepEqual(about({}), [
    'node1: its subnet 10.0.2.0/24 overlaps 10.0.2.128/25, the network of eth1: ignored',
    six,
  ]);
  assert.deepEqual(about({ subnets: [near] }), [
    `node1: its subnet ${near} overlaps ${near}, the network of eth0: ignored`,
  ]);
  const four = [parseCidr('10.0.3.0/24')];
  const at = (ip: string) => ({ subnets: four, addresses: { 4: parseIp(ip) } });
  assert.deepEqual(about(at('192.168.7.1')), [
    "node1: its address 192.168.7.1 is this node's own: ignored in IPv4",
  ]);
  const [line, ...rest] = about(at('10.0.9.1'));
  assert.match(
    line ?? '',
    /^node1: its address 10\.0\.9\.1 is in a network of pods, 10\.0\..*: ignored in IPv4$/,
  );
  assert.deepEqual(rest, []);
});

test('nothing is computed while the host uses addresses of this node’s subnet', () => {
  const facts = factsOf(PLAN);
  const [subnet] = facts.self.node.subnets;
  assert.ok(subnet);
  const withNetwork = (cidr: string, isBridge: boolean): Facts => {
    const networks = [{ cidr: parseCidr(cidr), use: 'the network of x0', isConnected: true, isBridge }];
    return { ...facts, self: { ...facts.self, host: { addresses: [], networks } } };
  };
  assert.throws(
    () => composedState(withNetwork('10.0.0.0/8', true)),
    /overlaps 10\.0\.0\.0\/8, the network of x0/,
  );
  assert.throws(() => composedState(withNetwork('10.0.1.0/24', false)), /10\.0\.1\.0\/24/);
  composedState(withNetwork('10.0.1.0/24', true));
  composedState(withNetwork('172.17.0.0/16', true));
});

test('a peer with this node’s public address is named by both (flannel#1129)', () => {
  const plan: Plan = { ...PLAN, families: [4, 6] };
  const [first, second] = nodesOf(plan);
  assert.ok(first && second);
  const shared = { 4: first.addresses[4] ?? parseIp('192.0.2.1'), 6: parseIp('2001:db8::77') };
  const peers = [first, { ...second, addresses: shared }];
  const [problem, ...more] = composedState({ ...factsOf(plan, 0), peers }).warnings;
  assert.deepEqual([problem?.severity, more], ['error', []]);
  assert.match(
    problem?.what ?? '',
    /^node1 publishes this node’s public address 172\.16\.0\.2: ignored in IPv4$/,
  );
  const facts = factsOf(plan, 1);
  const self = { ...facts.self, node: { ...facts.self.node, addresses: shared } };
  const [theirs] = composedState({ ...facts, self, peers }).warnings;
  assert.match(
    theirs?.what ?? '',
    /^node0 publishes this node’s public address 172\.16\.0\.2: ignored in IPv4$/,
  );
});

test('two peers that claim one subnet: the first wins, the other is reported', () => {
  const [self, second, third] = nodesOf(PLAN);
  assert.ok(self && second && third);
  const { warnings } = composedState({
    ...factsOf(PLAN),
    peers: [second, { ...third, subnets: second.subnets }],
  });
  // The route is the same for both.
  assert.deepEqual(warnings.map(problemText), [
    "node2: ignored 'neighbour flannel.1 10.0.2.0', already claimed by node1",
  ]);
});

test('host-gw: peers off the link, and a node behind NAT', () => {
  const plan: Plan = { ...PLAN, backend: { Type: 'host-gw' }, networks: 3 };
  const off = composedState(factsOf(plan));
  assert.match(
    off.warnings.map(problemText)[0] ?? '',
    /^node1: its address 172\.17\.0\.3 is not on a network of eth0/,
  );
  const facts = factsOf({ ...plan, networks: 1 });
  const node = { ...facts.self.node, addresses: { 4: parseIp('198.51.100.1') } };
  const { warnings, items } = composedState({ ...facts, self: { ...facts.self, node } });
  assert.match(
    warnings.map(problemText)[0] ?? '',
    /^IPv4: peers know this node as .*, which is not the address of eth0, so there is NAT/,
  );
  assert.ok(items.every((item) => item.kind !== 'route'));
  assert.ok(
    items.some((item) => item.kind === 'link' && item.name === 'cni0'),
    'pods keep their bridge',
  );
  assert.ok(
    items.some((item) => item.kind === 'nft-table' && item.family === 'ip'),
    'pods still reach the outside',
  );
});

test('a peer with several blocks: a route and a neighbour each, one FDB entry', () => {
  const [, second] = nodesOf(PLAN);
  assert.ok(second);
  const node = { ...second, subnets: [parseCidr('10.9.0.0/26'), parseCidr('10.9.1.64/26')] };
  const { items } = composedState({ ...factsOf(PLAN), peers: [node] });
  const count = (kind: string) => items.filter((item) => item.kind === kind).length;
  assert.deepEqual([count('route'), count('neighbour'), count('fdb')], [2, 2, 1]);
});

test('onDemand: one route for the network, and every miss answered with the peer that has the address', () => {
  const plan: Plan = { size: 40, families: [4, 6], backend: { Type: 'vxlan', onDemand: true }, networks: 2 };
  const facts = factsOf(plan);
  const { items } = composedState(facts);
  const routes = items.filter((item) => item.kind === 'route').map((item) => item.dst);
  assert.deepEqual(routes, ['10.0.0.0/8', 'fd10::/32']);
  assert.ok(items.every((item) => item.kind !== 'fdb' && item.kind !== 'neighbour'));
  const { backend, options } = configuredBackend(facts.network);
  const resolve = backend.resolver?.(facts.peers, options);
  assert.ok(resolve);
  for (const node of facts.peers) {
    for (const subnet of node.subnets) {
      const ip: Ip = nthIp(subnet, 3);
      const [fdb, neighbour] = resolve({ ip });
      assert.ok(fdb?.kind === 'fdb' && neighbour?.kind === 'neighbour');
      assert.ok(Object.values(node.addresses).includes(fdb.dst));
      assert.deepEqual([neighbour.ip, neighbour.mac], [ip, fdb.mac]);
      assert.deepEqual(resolve({ mac: fdb.mac }), [fdb]);
    }
  }
  assert.deepEqual(resolve({ ip: parseIp('8.8.8.8') }), []);
  const ahead = vxlan.options(new Fields({}, 'Backend'), NO_RESOURCES);
  assert.equal(vxlan.resolver?.(facts.peers, ahead), undefined, 'what is programmed ahead needs no answers');
});

test('every VNI gives valid device names, one per family', () => {
  for (const VNI of [1, 4096, 9999, 10_000, 9_999_999, 10_000_000, 0xffffff]) {
    const { items } = composedState(factsOf({ ...PLAN, families: [4, 6], backend: { Type: 'vxlan', VNI } }));
    const names = items.flatMap((item) =>
      item.kind === 'link' && item.link.type === 'vxlan' ? [item.name] : [],
    );
    assert.equal(new Set(names).size, 2);
    for (const name of names) assert.ok(name.length <= 15 && name.endsWith(`.${VNI}`), name);
  }
});

test('an underlay too narrow for IPv6 in a tunnel: IPv4 keeps working, and pods keep an MTU that IPv6 needs', () => {
  const facts = factsOf({ ...PLAN, families: [4, 6], backend: { Type: 'vxlan' } });
  const narrow = { ...facts.self, underlay: { ...facts.self.underlay, mtu: 1300 } };
  const { items, warnings, mtu } = composedState({ ...facts, self: narrow });
  assert.deepEqual(warnings.map(problemText), [
    'IPv6: the MTU of eth0 leaves 1230 bytes for a packet, and IPv6 needs 1280: raise it',
  ]);
  assert.equal(mtu, 1280);
  const links = items.flatMap((item) => (item.kind === 'link' ? [`${item.name} ${item.mtu}`] : []));
  assert.deepEqual(links, ['flannel.1 1250', 'cni0 1280']);
  assert.ok(items.some((item) => item.kind === 'address' && item.address === 'fd10:0:0:1::1/64'));
});
