import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Network } from '../../src/cluster/network.ts';
import type { LocalPod } from '../../src/cluster/node.ts';
import { type Family, ipAdd, parseIp } from '../../src/ip/address.ts';
import { hostCidr, nthIp, parseCidr } from '../../src/ip/cidr.ts';
import { command } from '../../src/state/print.ts';
import { type TracedNode, Tracer } from '../../src/trace/fib.ts';
import { ownerMark, podAlias } from '../../src/wiring/pod-device.ts';
import { routed } from '../../src/wiring/routed.ts';
import type { WiringFacts } from '../../src/wiring/wiring.ts';
import { factsOf, type Plan } from '../backends/cluster.ts';
import { composedState } from '../desired/composed.ts';
import { byKey } from '../state/compose.ts';

const PLAN: Plan = { size: 2, families: [4, 6], backend: { Type: 'vxlan', Port: 4790 }, networks: 1 };
const POD: LocalPod = {
  containerId: 'abc',
  labels: {},
  ifName: 'eth0',
  hostDevice: 'cali1234567890a',
  netns: '/n',
  addresses: [parseIp('10.0.1.7'), parseIp('fd10:0:0:1::7')],
  namespace: 'default',
  name: 'web-0',
  wiring: 'routed',
};

const wiringFacts = (families: readonly Family[], mtu: number): WiringFacts => ({
  self: factsOf(PLAN).self,
  families,
  mtu,
});

const commands = (
  pods: readonly LocalPod[],
  network: Partial<Network> = {},
  plan = PLAN,
): readonly string[] => {
  const facts = factsOf(plan);
  const whole = { ...facts, network: { ...facts.network, wiring: 'routed' as const, ...network }, pods };
  const { items, warnings } = composedState(whole);
  assert.deepEqual(warnings, []);
  return items.map((item) => command(item, 'add'));
};

test('the items of one pod', () => {
  assert.deepEqual(
    routed.pod(POD, wiringFacts([4, 6], 1430)).map((item) => command(item, 'add')),
    [
      'ip link set cali1234567890a mtu 1430 address ee:ee:ee:ee:ee:ee up',
      'sysctl -w net/ipv4/conf/cali1234567890a/forwarding=1',
      'sysctl -w net/ipv4/conf/cali1234567890a/accept_redirects=0',
      'sysctl -w net/ipv6/conf/cali1234567890a/disable_ipv6=0',
      'sysctl -w net/ipv6/conf/cali1234567890a/forwarding=1',
      'sysctl -w net/ipv6/conf/cali1234567890a/accept_ra=0',
      'sysctl -w net/ipv6/conf/cali1234567890a/accept_redirects=0',
      'sysctl -w net/ipv4/conf/cali1234567890a/proxy_arp=1',
      'sysctl -w net/ipv4/neigh/cali1234567890a/proxy_delay=0',
      'sysctl -w net/ipv4/conf/cali1234567890a/rp_filter=1',
      'sysctl -w net/ipv4/conf/cali1234567890a/route_localnet=1',
      'sysctl -w net/ipv6/conf/cali1234567890a/accept_dad=0',
      'sysctl -w net/ipv6/conf/cali1234567890a/addr_gen_mode=0',
      'sysctl -w net/ipv6/conf/cali1234567890a/proxy_ndp=1',
      'ip address replace fe80::ecee:eeff:feee:eeee/64 dev cali1234567890a nodad',
      'ip route replace 10.0.1.7/32 dev cali1234567890a proto 111',
      'ip route replace fd10:0:0:1::7/128 dev cali1234567890a proto 111 metric 1',
    ],
  );
});

test('a borrowed address has the protocol that is advertised', () => {
  const [borrowed] = POD.addresses;
  assert.ok(borrowed);
  const routes = routed
    .pod({ ...POD, borrowed: [borrowed] }, wiringFacts([4, 6], 1430))
    .flatMap((item) => (item.kind === 'route' ? [[item.dst, item.protocol]] : []));
  assert.deepEqual(routes, [
    ['10.0.1.7/32', 110],
    ['fd10:0:0:1::7/128', 111],
  ]);
});

test('in a family without pods, their devices accept no packets', () => {
  const texts = routed
    .pod({ ...POD, addresses: POD.addresses.slice(0, 1) }, wiringFacts([4], 1450))
    .map((item) => command(item, 'add'));
  assert.deepEqual(
    texts.filter((text) => /v6|fe80|fd10/.test(text)),
    [
      'sysctl -w net/ipv6/conf/cali1234567890a/accept_ra=0',
      'sysctl -w net/ipv6/conf/cali1234567890a/accept_redirects=0',
      'sysctl -w net/ipv6/conf/cali1234567890a/disable_ipv6=1',
    ],
  );
  const six = commands([], {}, { ...PLAN, families: [6] });
  assert.ok(
    six.some(
      (text) => text.includes('table ip flatnet-pods') && text.includes('fib saddr . iif oif exists accept'),
    ),
    'no IPv4 of a pod passes without IPv4 pods',
  );
  assert.ok(
    !six.some((text) => /net\/ipv4\/(?:ip_forward|conf\/eth0)/.test(text)),
    'and the node’s own IPv4 stays as it is',
  );
});

test('a node of routed pods: no bridge, a blackhole for each of its blocks, one table per family and for ARP', () => {
  const texts = commands([POD]);
  assert.ok(!texts.some((text) => text.includes('cni0')));
  assert.deepEqual(
    texts.filter((text) => text.includes('blackhole')),
    ['ip route replace blackhole 10.0.1.0/24', 'ip route replace blackhole fd10:0:0:1::/64'],
  );
  assert.ok(texts.includes('sysctl -w net/ipv4/ip_forward=1'));
  const nft = texts.filter((text) => text.startsWith('nft') && text.includes(' flatnet-pods '));
  const tables = nft.filter((text) => text.startsWith('nft -f'));
  assert.deepEqual(
    tables.map((text) => /table \w+/.exec(text)?.[0]),
    ['table ip', 'table ip6', 'table arp'],
  );
  const chain = `  chain sources {
    type filter hook prerouting priority raw; policy accept;
    iifname != "cali*" accept
    meta l4proto 4 drop comment "only nodes send it"
    ip daddr 127.0.0.0/8 drop comment "the host’s own loopback"
    icmp type { redirect, router-advertisement } drop comment "for routers"
    fib saddr . iif oif exists accept
    iifname . ether saddr @exceptions ether saddr . ip saddr @prefixes accept comment "allowedSourcePrefixes"
    drop comment "a source that is not its own"
  }
  chain tunnels {
    type filter hook prerouting priority mangle; policy accept;
    ip protocol != 17 accept
    @th,16,16 4789 goto tunnel-port
    @th,16,16 8472 goto tunnel-port
    @th,16,16 4790 goto tunnel-port
  }
  chain tunnel-port {
    ct direction reply accept comment "an answer"
    iifname "cali*" drop comment "only nodes send it"
  }`;
  assert.ok(tables[0]?.includes(chain), `${tables[0]}`);
  assert.ok(!tables[1]?.includes('127.0.0.0'));
  assert.deepEqual(commands([POD]), texts, 'the same text each time');
  assert.deepEqual(
    commands([]).filter((text) => text.startsWith('nft') && text.includes(' flatnet-pods ')),
    tables,
    'pods that come and go change no table',
  );
  assert.deepEqual(
    nft.filter((text) => !tables.includes(text)),
    [
      `nft add element arp flatnet-pods guarded '{ "cali1234567890a" }'`,
      `nft add element arp flatnet-pods senders '{ "cali1234567890a" . 10.0.1.7 }'`,
    ],
    'but have elements',
  );
});

test('the table exists without masquerading too', () => {
  const texts = commands([], { masquerade: { enabled: false, randomFully: true, exclude: [] } });
  const tables = texts.filter((text) => text.startsWith('nft -f') && text.includes(' flatnet-pods '));
  assert.equal(tables.length, 3);
});

test('a block of one address has no blackhole: it would take the place of the pod’s route', () => {
  const facts = factsOf(PLAN);
  const subnets = [hostCidr(parseIp('10.0.1.7')), parseCidr('10.0.9.64/26')];
  const self = { ...facts.self, node: { ...facts.self.node, subnets } };
  const network = { ...facts.network, wiring: 'routed' as const };
  const { items } = composedState({ ...facts, network, self, pods: [POD] });
  const blackholes = items.filter((item) => item.kind === 'route' && item.type === 'blackhole');
  assert.deepEqual(
    blackholes.map((item) => command(item, 'add')),
    ['ip route replace blackhole 10.0.9.64/26'],
  );
});

test('when the wiring changes, existing pods keep theirs until they are gone', () => {
  const { wiring: _wiring, ...old } = {
    ...POD,
    hostDevice: 'veth1',
    containerId: 'old',
    namespace: 'default',
    name: 'old',
  };
  const bridged = commands([POD, { ...old, addresses: [parseIp('10.0.1.9')] }]);
  assert.ok(bridged.some((text) => text.startsWith('ip link add cni0 ')));
  assert.ok(bridged.some((text) => text.startsWith('ip link set veth1 ') && text.includes('master cni0')));
  assert.ok(!bridged.some((text) => text.includes('blackhole')), 'the bridge has the subnet');
  const back = commands([POD], { wiring: 'bridge' });
  assert.ok(back.some((text) => text.startsWith('ip link add cni0 ')));
  assert.ok(back.some((text) => text.includes('10.0.1.7/32 dev cali1234567890a')));
  assert.ok(back.some((text) => text.includes('chain sources')));
  const foreign = commands([{ ...old, foreign: true }]);
  assert.ok(!foreign.some((text) => text.includes('cni0')), 'a pod on another bridge needs none of ours');
});

test('a device’s alias identifies its pod, however long the names are', () => {
  assert.equal(podAlias(POD), 'flatnet default/web-0 abc eth0');
  const { name: _name, ...nameless } = POD;
  assert.equal(podAlias(nameless), 'flatnet abc eth0');
  const long = { ...POD, namespace: 'n'.repeat(63), name: 'p'.repeat(253), containerId: 'c'.repeat(300) };
  assert.ok(podAlias(long).length <= 255);
  assert.ok(podAlias(long).endsWith(ownerMark(long)));
});

test('any node reaches any other’s pods through the backend’s hop and the pod’s own device; other addresses end in the blackhole', () => {
  for (const backend of [{ Type: 'vxlan' }, { Type: 'host-gw' }]) {
    const plan = { ...PLAN, size: 4, backend };
    const podOf = (index: number): LocalPod => ({
      ...POD,
      hostDevice: `cali${index}`,
      addresses: factsOf(plan, index).self.node.subnets.map((subnet) => nthIp(subnet, 7)),
    });
    const nodes = Array.from({ length: plan.size }, (_, index): TracedNode => {
      const facts = factsOf(plan, index);
      const network = { ...facts.network, wiring: 'routed' as const };
      const { items } = composedState({ ...facts, network, pods: [podOf(index)] });
      return { name: `node${index}`, state: byKey(items), underlay: facts.self.underlay };
    });
    const tracer = new Tracer({ nodes: new Map(nodes.map((node) => [node.name, node])), routed: false });
    for (const { name: from } of nodes) {
      for (const [to, { name }] of nodes.entries()) {
        for (const address of podOf(to).addresses) {
          const walk = tracer.walk(from, address);
          assert.ok(walk.delivered, JSON.stringify(walk));
          const between = backend.Type === 'vxlan' ? 'vxlan' : 'direct';
          assert.deepEqual(
            walk.hops.map(({ kind }) => kind),
            from === name ? ['local'] : [between, 'local'],
          );
          assert.deepEqual([walk.hops.at(-1)?.node, walk.hops.at(-1)?.dev], [name, `cali${to}`]);
          const nobody = tracer.walk(from, ipAdd(address, 1));
          assert.ok(!nobody.delivered && nobody.at === name && nobody.reason.startsWith('blackhole '));
        }
      }
    }
  }
});
