import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { BirdControl } from '../../../src/companions/bird/daemon/control.ts';
import { BgpCluster, until } from './bgp-cluster.ts';

/**
 * Limit from a fault to the repaired state, in milliseconds: an idle machine needs some tens, a busy one
 * more. Faults that raise no event are only repaired by the scans of BIRD, every 10 s, and of the agent,
 * every 30 s.
 */
const LIMIT = 8000;

/** Answers all BGP packets with a reset, like a middlebox that lost its connection table. */
const RESET = `add table inet harm
add chain inet harm in { type filter hook input priority 0; }
add rule inet harm in tcp dport 179 reject with tcp reset
add rule inet harm in tcp sport 179 reject with tcp reset`;

test('every fault in a node’s kernel is repaired at once', async (t) => {
  await using cluster = await BgpCluster.up(3);
  for (const node of cluster.nodes) await cluster.addPod(node);
  const [pod] = cluster.pods;
  const peer = cluster.pods[1]?.addresses[0];
  const ip = pod?.addresses[0];
  assert.ok(ip && peer);
  await cluster.established(() => 2);
  await cluster.reachable();
  const routes = cluster.run('node1', 'ip', 'route');
  const block = `${ip.replace(/\d+$/, (last) => String(Number(last) & 192))}/26`;
  const peers = `${peer.replace(/\d+$/, (last) => String(Number(last) & 192))}/26`;
  const cali = /dev (cali\S+)/.exec(routes)?.[1] ?? '';
  for (const line of [
    `${ip} dev ${cali} proto 111 scope link `,
    `blackhole ${block} proto 110 `,
    `${peers} via 172.30.0.12 dev eth0 proto bird metric 32 `,
  ]) {
    assert.ok(routes.split('\n').includes(line), `${line} in\n${routes}`);
  }
  const right = await cluster.kernels();

  const faults = {
    "pod's route deleted": `ip route del ${ip}`,
    "pod's route elsewhere": `ip route replace ${ip} dev lo proto 111`,
    'blackhole deleted': `ip route del blackhole ${block}`,
    "BIRD's route deleted": `ip route del ${peers}`,
    "all of BIRD's routes deleted": 'ip route flush proto bird',
    "all of the agent's routes deleted": 'ip route flush proto 110; ip route flush proto 111',
    'cali device down': `ip link set ${cali} down`,
    'cali device down and up': `ip link set ${cali} down; ip link set ${cali} up`,
    'cali device with another MAC': `ip link set ${cali} address 02:00:00:00:be:ef`,
    'cali device with another MTU': `ip link set ${cali} mtu 1300`,
    'no proxy ARP': `sysctl -qw net.ipv4.conf.${cali}.proxy_arp=0`,
    'no forwarding at the pod': `sysctl -qw net.ipv4.conf.${cali}.forwarding=0`,
    'no forwarding at all': 'sysctl -qw net.ipv4.ip_forward=0',
    'nft table deleted': 'nft delete table ip flatnet-masquerade',
    'nft table flushed': 'nft flush table ip flatnet-pods',
    'underlay down and up':
      'ip link set eth0 down; ip link set eth0 up; ip route add default via 172.30.0.1 dev eth0',
  };
  const times: number[] = [];
  for (const [fault, command] of Object.entries(faults)) {
    await t.test(fault, async (t) => {
      const begin = performance.now();
      cluster.run('node1', 'sh', '-ec', command);
      const took = await until(LIMIT, () => different(cluster, right), begin);
      t.diagnostic(`${Math.round(took)} ms`);
      times.push(took);
      // Wait until the state is stable.
      await sleep(50);
      assert.deepEqual(await different(cluster, right), []);
    });
  }

  const median = times.sort((a, b) => a - b)[Math.floor(times.length / 2)] ?? LIMIT;
  assert.ok(median < 1000, `half of the faults lasted ${median} ms and more`);

  await t.test('BIRD killed', async (t) => {
    const before = cluster.bird('node1');
    await cluster.kill(['node1'], 'bird');
    const took = await until(LIMIT, async () => [
      ...(cluster.bird('node1') ? [] : ['BIRD does not run']),
      ...(await different(cluster, right)),
    ]);
    assert.notDeepEqual(cluster.bird('node1'), before);
    t.diagnostic(`${Math.round(took)} ms`);
    await cluster.established(() => 2);
    assert.deepEqual(await different(cluster, right), []);
  });

  await t.test('a session restarted by hand, at either end', async (t) => {
    for (const [node, other] of [
      ['node1', '172.30.0.12'],
      ['node2', '172.30.0.11'],
    ] as const) {
      const { control } = await BirdControl.open(cluster.birdFiles(node).socket);
      const begin = performance.now();
      await control.request(`restart Node_${other.replaceAll('.', '_')}`);
      control[Symbol.dispose]();
      // Both ends drop their routes before the answer, or soon after.
      await sleep(50);
      // BIRD waits for a second before it reconnects, the minimum setting.
      const took = await until(1000 + LIMIT, () => different(cluster, right), begin);
      t.diagnostic(`by ${node}: ${Math.round(took)} ms`);
    }
  });

  await t.test('sessions reset', async (t) => {
    const pings = cluster.pods.slice(1).flatMap((other) => cluster.ping(t, other, cluster.pods[0] ?? other));
    cluster.run('node1', 'nft', RESET);
    // Makes a quiet session send something, so that it is reset.
    const { control } = await BirdControl.open(cluster.birdFiles('node1').socket);
    await control.request('reload out all');
    control[Symbol.dispose]();
    await until(60_000, async () => {
      const others = await Promise.all(['node2', 'node3'].map((node) => cluster.bgpStatus(node)));
      const sessions = others.flatMap((each) => each.sessions).filter(({ node }) => node === 'node1');
      return sessions.filter(({ info }) => info === 'Established').map(({ name }) => `${name} still up`);
    });
    cluster.run('node1', 'nft', 'delete table inet harm');
    assert.deepEqual(await different(cluster, right), [], 'routes stay without a session');
    const begin = performance.now();
    await cluster.established(() => 2);
    t.diagnostic(`established again after ${Math.round(performance.now() - begin)} ms`);
    assert.deepEqual(await different(cluster, right), []);
    // A BIRD that did not restart does not ask its peer to keep its routes until it has announced them again
    // (RFC 4724).
    for (const ping of pings) {
      const { lost } = await ping.end();
      t.diagnostic(`${lost.length} packets lost`);
      assert.ok(lost.length < 1000, `${lost.length} packets, of 200 a second`);
    }
  });
  await cluster.reachable();
});

/** The lines that changed or are new. */
async function different(cluster: BgpCluster, right: string): Promise<string[]> {
  const now = (await cluster.kernels()).split('\n');
  const before = right.split('\n');
  return [
    ...before.filter((line) => !now.includes(line)).map((line) => `missing ${line}`),
    ...now.filter((line) => !before.includes(line)).map((line) => `stray ${line}`),
  ];
}
