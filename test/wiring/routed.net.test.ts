import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { parsePrefixed } from '../../src/ip/cidr.ts';
import { GATEWAY } from '../../src/wiring/pod-device.ts';
import type { Plan } from '../backends/cluster.ts';
import { NO_KERNEL } from '../state/namespace.ts';
import { type RoutedNode, RoutedPod, twoNodes } from './routed-node.ts';

const VXLAN: Plan = { size: 2, families: [4, 6], backend: { Type: 'vxlan' }, networks: 1 };
const HOST_GW: Plan = { ...VXLAN, backend: { Type: 'host-gw' } };

/** Node 0 is 172.16.0.2 and has 10.0.1.0/24, node 1 is 172.16.0.3 and has 10.0.2.0/24; likewise in IPv6. */
const [FAR4, FAR6] = ['10.0.2.0/24', 'fd10:0:0:2::/64'];

function pings(pod: RoutedPod, address: string): boolean {
  try {
    pod.run('ping', '-nc1', '-W1', address);
    return true;
  } catch {
    return false;
  }
}

/** The address that reports the TTL exceeded after `ttl` hops, or that answers. */
function hop(pod: RoutedPod, address: string, ttl: number): string {
  let text: string;
  try {
    text = pod.run('ping', '-nc1', '-W0.4', '-t', `${ttl}`, address);
  } catch (error) {
    text = String(Object(error).stdout);
  }
  const [, over, answer] = /From ([0-9a-f.:]+) icmp|bytes from ([0-9a-f.:]+): /.exec(text) ?? [];
  return over ?? answer ?? '';
}

for (const plan of [VXLAN, HOST_GW]) {
  const kind = plan.backend.Type;
  test(`${kind}: tables and the path of a ping`, { skip: NO_KERNEL }, async (t) => {
    await using pair = await twoNodes(plan);
    const [near, far] = pair.nodes;
    using a = new RoutedPod('a');
    using b = new RoutedPod('b');
    await near.add(a);
    await far.add(b);
    const [address4 = '', address6 = ''] = b.addresses;

    await t.test('pods of two nodes reach each other as soon as they exist', () => {
      for (const address of b.addresses) assert.ok(pings(a, address), address);
      for (const address of a.addresses) assert.ok(pings(b, address), address);
    });

    await t.test('the node: a blackhole for its own, a route for each pod, one for each peer', async () => {
      await near.running.settled();
      const ways = kind === 'vxlan' ? ['10.0.2.0 dev flannel.1', 'onlink'] : ['172.16.0.3 dev eth0', ''];
      assert.deepEqual(near.lines('-4 route'), [
        'blackhole 10.0.1.0/24 proto 110',
        `10.0.1.2 dev ${a.device} proto 111 scope link`,
        `${FAR4} via ${ways[0]} proto 110 ${ways[1]}`.trim(),
        '172.16.0.0/16 dev eth0 proto kernel scope link src 172.16.0.2',
      ]);
      const ways6 = kind === 'vxlan' ? ['fd10:0:0:2:: dev flannel-v6.1', 'onlink'] : ['fd00::3 dev eth0', ''];
      const own = near
        .lines('-6 route')
        .map((line) => line.replace(' pref medium', ''))
        .filter((line) => line.includes('proto 11'));
      assert.deepEqual(own.sort(), [
        'blackhole fd10:0:0:1::/64 dev lo proto 110 metric 1024',
        `fd10:0:0:1::2 dev ${a.device} proto 111 metric 1`,
        `${FAR6} via ${ways6[0]} proto 110 metric 1024 ${ways6[1]}`.trim(),
      ]);
      assert.equal(near.lines('link show type bridge').length, 0);
    });

    await t.test('the pod: one way out', () => {
      assert.deepEqual(a.ip('-4 route').trim().split(/ *\n/), [
        'default via 169.254.1.1 dev eth0',
        '169.254.1.1 dev eth0 scope link',
      ]);
    });

    await t.test('a ping’s path: pod, its node, the other node, pod', () => {
      const ofNode = ({ namespace }: RoutedNode): string => namespace.ip('address show');
      for (const address of [address4, address6]) {
        for (const [ttl, node] of [
          [1, near],
          [2, far],
        ] as const) {
          const from = hop(a, address, ttl);
          assert.ok(from !== '' && ofNode(node).includes(` ${from}/`), `hop ${ttl}: '${from}'`);
        }
        assert.equal(hop(a, address, 3), address);
      }
    });

    await t.test('packets to an unused address are dropped: no loop, no way out', () => {
      assert.equal(hop(a, '10.0.2.200', 5), '');
      assert.equal(hop(a, 'fd10:0:0:2::200', 5), '');
      assert.equal(hop(a, '10.0.1.200', 5), '');
    });

    await t.test('a peer that claims a pod’s address does not get its packets', () => {
      const [own4 = '', own6 = ''] = a.addresses;
      for (const [own, via] of [
        [own4, '172.16.0.3'],
        [own6, 'fd00::3'],
      ] as const) {
        near.namespace.ip(`route add ${own} via ${via} dev eth0 proto bird metric 32`);
        try {
          assert.match(near.namespace.ip(`route get ${own}`), new RegExp(` dev ${a.device} `));
        } finally {
          near.namespace.ip(`route del ${own} proto bird metric 32`);
        }
      }
    });

    await t.test('the agent leaves what CNI created unchanged, and maintains it', async () => {
      const link = `link set ${a.device}`;
      const v4 = `net/ipv4/conf/${a.device}`;
      const damage: Record<string, () => unknown> = {
        'the route': () => near.namespace.ip('route del 10.0.1.2'),
        'the IPv6 route': () => near.namespace.ip('-6 route del fd10:0:0:1::2'),
        'the MAC': () => near.namespace.ip(`${link} address 02:00:00:00:00:01`),
        'the MTU': () => near.namespace.ip(`${link} mtu 1300`),
        'the link': () => near.namespace.ip(`${link} down`),
        'the gateway’s address': () =>
          near.namespace.ip(`address del ${parsePrefixed(`${GATEWAY[6]}/64`)} dev ${a.device}`),
        'proxy ARP': () => near.namespace.run('sysctl', '-qw', `${v4}/proxy_arp=0`),
        forwarding: () => near.namespace.run('sysctl', '-qw', `${v4}/forwarding=0`),
        'forwarding of the underlay': () =>
          near.namespace.run('sysctl', '-qw', 'net/ipv4/conf/eth0/forwarding=0'),
        'IPv6 forwarding of the underlay': () =>
          near.namespace.run('sysctl', '-qw', 'net/ipv6/conf/eth0/forwarding=0'),
        'the table': () => near.namespace.run('nft', 'delete table ip flatnet-pods'),
        'the blackhole': () => near.namespace.ip('route del blackhole 10.0.1.0/24'),
      };
      await near.running.settled();
      assert.ok(
        near.running.reports.every(({ done }) =>
          done.every(({ item }) => item.kind === 'nft-element' || !JSON.stringify(item).includes(a.device)),
        ),
        'CNI left nothing to do but the guard’s elements',
      );
      for (const [what, breakIt] of Object.entries(damage)) {
        breakIt();
        const took = await near.running.settled();
        assert.ok(took < 1000, `${what}: ${took} ms`);
      }
      for (const address of b.addresses) assert.ok(pings(a, address), address);
      assert.deepEqual([near.warnings, far.warnings], [[], []]);
    });

    await t.test('a removed pod leaves nothing', async () => {
      await near.remove(a);
      await near.running.settled();
      assert.deepEqual(near.lines('route show proto 111'), []);
      assert.ok(!pings(b, '10.0.1.2'));
    });
  });
}

test('what a pod may not send', { skip: NO_KERNEL }, async (t) => {
  await using pair = await twoNodes(VXLAN);
  const [node, other] = pair.nodes;
  using a = new RoutedPod('c');
  using b = new RoutedPod('d');
  using remote = new RoutedPod('e');
  await node.add(a);
  await node.add(b);
  await other.add(remote);
  await node.running.settled();

  const nft = (command: string) => node.namespace.run('nft', command);
  nft('add table inet seen');
  nft('add set inet seen v4 { type ipv4_addr; flags dynamic; size 64; }');
  nft('add set inet seen v6 { type ipv6_addr; flags dynamic; size 64; }');
  nft('add set inet seen tunnels { type inet_proto . inet_service; flags dynamic; size 64; }');
  nft('add chain inet seen in { type filter hook prerouting priority dstnat; }');
  nft('add rule inet seen in iifname "cali*" icmp type echo-request update @v4 { ip saddr }');
  nft('add rule inet seen in iifname "cali*" icmpv6 type echo-request update @v6 { ip6 saddr }');
  nft('add rule inet seen in iifname "cali*" udp dport 1-65535 update @tunnels { meta l4proto . udp dport }');
  nft('add rule inet seen in iifname "cali*" meta l4proto 4 update @tunnels { meta l4proto . 0 }');
  const seen = (set: string, send: () => void): string[] => {
    nft(`flush set inet seen ${set}`);
    send();
    const text = nft(`list set inet seen ${set}`);
    return /elements = \{ ([^}]*?) *\}/.exec(text)?.[1]?.split(/,\s*/) ?? [];
  };
  const sources = (set: 'v4' | 'v6', to: string, from: readonly string[]): string[] =>
    seen(set, () => {
      for (const source of from) {
        const length = source.includes(':') ? '128 nodad' : '32';
        const isOwn = a.addresses.includes(source);
        if (!isOwn) a.ip(`address add ${source}/${length} dev lo`);
        try {
          a.run('ping', '-nc1', '-W0.2', '-I', source, to);
        } catch {
          // It is only sent for its source.
        }
        if (!isOwn) a.ip(`address del ${source}/${length.replace(' nodad', '')} dev lo`);
      }
    });
  const [own4 = '', own6 = ''] = a.addresses;
  const [near4 = '', near6 = ''] = b.addresses;
  const [far4 = '', far6 = ''] = remote.addresses;
  const spoofed4 = [own4, near4, '10.0.2.99', '172.16.0.2', '10.0.1.99', '8.8.8.8', '192.168.1.1'];
  const spoofed6 = [own6, near6, 'fd10:0:0:2::99', 'fd00::2', 'fd10:0:0:1::99', '2001:db8::1'];

  await t.test('a source other than its own, in both families', () => {
    assert.deepEqual(sources('v4', far4, spoofed4), [own4]);
    assert.deepEqual(sources('v6', far6, spoofed6), [own6]);
  });
  const UDP = [
    "use Socket; socket(S, AF_INET, SOCK_DGRAM, 17); send(S, 'x', 0, sockaddr_in($_, inet_aton($ARGV[0]))) for 53, 4789, 8472, 9999",
  ];
  const IPIP = [
    "use Socket; socket(S, AF_INET, SOCK_RAW, 4); send(S, 'E' . 'x' x 19, 0, sockaddr_in(0, inet_aton($ARGV[0])))",
  ];
  const tunnels = () =>
    seen('tunnels', () => {
      for (const to of ['172.16.0.2', '172.16.0.3', far4]) {
        for (const [script = ''] of [UDP, IPIP]) a.run('perl', '-e', script, to);
      }
    }).sort();
  await t.test('packets of tunnels, wherever to', () => {
    assert.deepEqual(tunnels(), ['udp . 53', 'udp . 9999']);
  });
  await t.test('except replies, whatever port another node sent from', async () => {
    const listen =
      'socket(S, AF_INET, SOCK_DGRAM, 17); bind(S, sockaddr_in($ARGV[0], INADDR_ANY)) or die; alarm 3;';
    const serve = `use Socket; $| = 1; ${listen} print 'up'; $from = recv(S, $_, 9, 0); send(S, 'answer', 0, $from)`;
    const ask = `use Socket; ${listen} send(S, 'x', 0, sockaddr_in(7777, inet_aton($ARGV[1]))); recv(S, $_, 9, 0); print`;
    const server = a.start('perl', '-e', serve, '7777');
    await once(server.stdout, 'data');
    assert.equal(other.namespace.run('perl', '-e', ask, '4789', own4), 'answer');
  });
  await t.test('neighbour discovery still works', async () => {
    a.ip(`-6 neigh del ${GATEWAY[6]} dev eth0`);
    assert.ok(pings(a, far6));
  });
  await t.test('all of this passes without the table', async () => {
    node.running[Symbol.dispose]();
    await sleep(50);
    for (const family of ['ip', 'ip6']) nft(`delete table ${family} flatnet-pods`);
    assert.equal(sources('v4', far4, spoofed4).length, spoofed4.length);
    assert.equal(sources('v6', far6, spoofed6).length, spoofed6.length);
    assert.equal(tunnels().length, 5);
  });
});
