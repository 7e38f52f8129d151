import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseCidr } from '../../src/ip/cidr.ts';
import { NETLINK_NETFILTER, NetlinkSocket } from '../../src/linux/netlink/socket.ts';
import { readCounts } from '../../src/linux/nftables/element-dump.ts';
import type { Plan } from '../backends/cluster.ts';
import { NO_KERNEL } from '../state/namespace.ts';
import { RoutedPod, twoNodes } from '../wiring/routed-node.ts';
import { arp, BROADCAST, frame, neighbour, PROTOCOL, packet, TYPE, udp, vxlan } from './packets.ts';
import { Wire } from './wire.ts';

const PLAN: Plan = { size: 2, families: [4, 6], backend: { Type: 'vxlan' }, networks: 1 };
const ALLOWED = 'cni.projectcalico.org/allowedSourcePrefixes';
const VIPS = { in4: '198.18.0.7', out4: '198.18.1.7', in6: 'fd99::7', out6: 'fd98::7' };

for (const wiring of ['bridge', 'routed'] as const) {
  test(`${wiring}: a pod may send from the networks in allowedSourcePrefixes`, {
    skip: NO_KERNEL,
  }, async (t) => {
    const allowedSources = ['198.18.0.0/20', 'fd99::/48'].map(parseCidr);
    await using pair = await twoNodes(PLAN, { wiring, allowedSources, serviceNetworks: [] });
    const [node] = pair.nodes;
    using pod = new RoutedPod(`vip-${wiring}`);
    using other = new RoutedPod(`plain-${wiring}`);
    await node.add(pod, { [ALLOWED]: '["198.18.0.0/24", "fd99::/64"]' });
    await node.add(other);
    await node.running.settled();
    for (const dev of ['all', pod.device]) {
      node.namespace.run('sysctl', '-qw', `net/ipv4/conf/${dev}/rp_filter=0`);
    }
    using wire = new Wire(pod.netns, 'eth0');
    using neighbourWire = new Wire(other.netns, 'eth0');
    const via = wiring === 'bridge' ? other.mac : 'ee:ee:ee:ee:ee:ee';
    const arrives = async (bytes: Uint8Array, mark: Uint8Array): Promise<boolean> => {
      neighbourWire.received();
      wire.send(bytes);
      await sleep(60);
      return neighbourWire.received().some((each) => each.includes(mark));
    };
    const [v4 = '', v6 = ''] = other.addresses;
    const sends = (src: string): Promise<boolean> => {
      const mark = randomBytes(16);
      const dst = src.includes(':') ? v6 : v4;
      const bytes = packet(src, dst, PROTOCOL.udp, udp(src, dst, [4242, 4343], mark));
      return arrives(frame(via, pod.mac, src.includes(':') ? TYPE.ip6 : TYPE.ip, bytes), mark);
    };

    await t.test('but not from others: it does not start', async () => {
      using greedy = new RoutedPod(`greedy-${wiring}`);
      for (const prefix of ['0.0.0.0/0', '198.18.16.0/24', `${other.addresses[0]}/32`, '::/0']) {
        const annotation = `["198.18.1.0/24", "${prefix}"]`;
        await assert.rejects(node.add(greedy, { [ALLOWED]: annotation }), (error: Error) => {
          assert.match(error.message, /allowedSourcePrefixes/);
          assert.ok(error.message.includes(prefix), error.message);
          return true;
        });
      }
      await node.add(greedy, { [ALLOWED]: '["198.18.1.0/24"]' });
      await node.remove(greedy);
    });
    await t.test('packets', async () => {
      for (const src of [...pod.addresses, VIPS.in4, VIPS.in6]) assert.ok(await sends(src), src);
      for (const src of [VIPS.out4, VIPS.out6]) assert.ok(!(await sends(src)), src);
    });
    if (wiring === 'routed') return;
    await t.test('ARP and neighbour discovery', async () => {
      const claims = (ip: string): Promise<boolean> => {
        if (!ip.includes(':')) {
          const bytes = arp(1, [pod.mac, ip], [pod.mac, ip]);
          return arrives(frame(BROADCAST, pod.mac, TYPE.arp, bytes), bytes);
        }
        const own = pod.addresses[1] ?? '';
        const bytes = neighbour(own, v6, 136, ip, pod.mac);
        return arrives(frame(other.mac, pod.mac, TYPE.ip6, packet(own, v6, PROTOCOL.icmp6, bytes)), bytes);
      };
      for (const ip of [VIPS.in4, VIPS.in6]) assert.ok(await claims(ip), ip);
      for (const ip of [VIPS.out4, VIPS.out6]) assert.ok(!(await claims(ip)), ip);
    });
    await t.test('gone with the pod', async () => {
      await node.remove(pod);
      await node.running.settled();
      assert.doesNotMatch(node.namespace.run('nft', 'list table bridge flatnet-bridge'), /198\.18\.0/);
    });
  });
}

test('hosts whose tunnel packets are dropped are counted', { skip: NO_KERNEL }, async () => {
  await using pair = await twoNodes(PLAN, { wiring: 'bridge' });
  const [node, other] = pair.nodes;
  const mac = (at: typeof node) => /link\/ether (\S+)/.exec(at.namespace.ip('link show eth0'))?.[1] ?? '';
  using wire = new Wire(other.namespace.path, 'eth0');
  for (const src of ['172.16.0.99', '172.16.0.99', '172.16.0.3']) {
    const data = udp(src, '172.16.0.2', [40000, 8472], vxlan(1, Buffer.alloc(60)));
    wire.send(frame(mac(node), mac(other), TYPE.ip, packet(src, '172.16.0.2', PROTOCOL.udp, data)));
  }
  await sleep(50);
  const table = [...node.running.reconciler.desired.values()].find(
    (item) => item.kind === 'nft-table' && item.table === 'flatnet-vxlan' && item.family === 'ip',
  );
  assert.ok(table?.kind === 'nft-table');
  const set = table.sets?.find(({ name }) => name === 'strangers');
  assert.ok(set);
  using socket = NetlinkSocket.open(NETLINK_NETFILTER, { netns: node.namespace.path });
  const counts = await readCounts(socket, table, set);
  assert.deepEqual(
    counts.map(({ key, packets }) => [key, packets]),
    [['172.16.0.99', 2n]],
  );
  assert.equal((await node.running.differences()).length, 0, 'the kernel’s own elements are nobody’s');
});
