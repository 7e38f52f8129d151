import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Ip } from '../../src/ip/address.ts';
import { netnsOf, podNetns } from '../../src/lab/names.ts';
import type { PodRecord } from '../../src/lab/pod-record.ts';
import { withPreset } from '../../src/lab/preset.ts';
import { BgpCluster, until } from '../agent/bgp-cluster.ts';
import { CANNOT } from './host.ts';

/*
 * Calico's default way in the whole. node1 and node3 are on one network, node2 on another one, behind a router: 172.30.0.11,
 * 172.30.1.12, 172.30.0.13.
 */
const [NODE1, NODE2, NODE3] = ['172.30.0.11', '172.30.1.12', '172.30.0.13'];
/** Milliseconds: an emulated machine is slow. */
const PATIENCE = 60_000;
/** Milliseconds from a fault to the repaired state: BIRD’s own look at the kernel, every 10 s, is the latest that may help. */
const HEALED = 15_000;
const NETWORK = { Network: '10.244.0.0/16' };

/** Faults of node1's tunnel; node2's block is behind it in every case. */
const FAULTS = [
  'ip link set tunl0 down',
  'ip address flush dev tunl0',
  'ip route flush proto bird dev tunl0',
  'ip link set tunl0 mtu 1300',
];

test('Calico’s default way, on a kernel with ipip', { skip: CANNOT, timeout: 400_000 }, async (t) => {
  const begin = performance.now();
  await using cluster = await BgpCluster.up(3, withPreset('calico', NETWORK), 2);
  t.diagnostic(`up after ${seconds(begin)}`);
  for (const node of cluster.nodes) await cluster.addPod(node);
  const [pod1, pod2, pod3] = cluster.pods;
  assert.ok(pod1 && pod2 && pod3);
  const [block1, block2, block3] = [pod1, pod2, pod3].map(blockOf);
  await cluster.established(() => 2, 1, PATIENCE);
  t.diagnostic(`sessions after ${seconds(begin)}`);

  await t.test('every pod reaches every pod, and no address is translated', async () => {
    await cluster.reachable(PATIENCE);
  });

  const routes = (node: string): string[] => lines(cluster.run(node, 'ip', 'route'));
  const tunnel = /inet (\S+)\/32 scope global tunl0/.exec(cluster.run('node1', 'ip', 'addr'))?.[1];
  /** All that node1 routes by, with the way to node3's block as given. */
  const table = (near: string): string[] =>
    [
      'default via 172.30.0.1 dev eth0',
      `blackhole ${block1} proto 110`,
      `${ipOf(pod1)} dev ${caliOf('p0')} proto 111 scope link`,
      `${block2} via ${NODE2} dev tunl0 proto bird metric 32 onlink`,
      `${block3} via ${NODE3} ${near}`,
      `172.30.0.0/24 dev eth0 proto kernel scope link src ${NODE1}`,
    ].sort();
  const TUNNELLED = 'dev tunl0 proto bird metric 32 onlink';
  const PLAIN = 'dev eth0 proto bird metric 32';

  await t.test('the routing tables are Calico’s', () => {
    t.diagnostic(`node1:\n${cluster.run('node1', 'ip', 'route')}`);
    assert.deepEqual(routes('node1').sort(), table(TUNNELLED));
    assert.deepEqual(lines(inPod(cluster, pod1, 'ip', 'route')), [
      'default via 169.254.1.1 dev eth0',
      '169.254.1.1 dev eth0 scope link',
    ]);
    assert.match(cluster.run('node1', 'ip', 'link', 'show', 'tunl0'), /UP.* mtu 1480 /);
    assert.match(inPod(cluster, pod1, 'ip', 'link', 'show', 'eth0'), / mtu 1480 /);
    assert.ok(tunnel && blockOf({ addresses: [tunnel as Ip] }) === block1, `tunl0 has ${tunnel}`);
  });

  await t.test('a packet on the wire has two IP headers', async () => {
    const seen = await capture(cluster, 'node3', 'ip proto 4', pod1, ipOf(pod3));
    assert.match(seen, new RegExp(`proto IPIP \\(4\\).* ${NODE1} > ${NODE3}: .*proto ICMP \\(1\\)`));
    assert.ok(seen.includes(`${ipOf(pod1)} > ${ipOf(pod3)}: ICMP echo request`), seen);
  });

  await t.test('protocol 4 of a stranger is dropped', () => {
    const router = netnsOf(cluster.lab.name, 'router');
    const at = (...command: string[]): string =>
      execFileSync('ip', ['netns', 'exec', router, ...command], { encoding: 'utf8', stdio: 'pipe' });
    inPod(cluster, pod1, 'nft', COUNT('icmp type echo-request'));
    cluster.run('node1', 'nft', COUNT('ip protocol 4'));
    at('ip', 'link', 'set', 'tunl0', 'up');
    at('ip', 'address', 'add', `${ipOf(pod3)}/32`, 'dev', 'tunl0');
    at('ip', 'route', 'add', ipOf(pod1), 'via', NODE1, 'dev', 'tunl0', 'onlink');
    assert.throws(() => at('ping', '-c1', '-W1', ipOf(pod1)));
    at('ip', 'link', 'set', 'tunl0', 'down');
    const counted = (text: string): number => Number(/packets (\d+)/.exec(text)?.[1]);
    assert.equal(counted(cluster.run('node1', 'nft', 'list', 'table', 'ip', 'seen')), 1);
    const arrived = (): number => counted(inPod(cluster, pod1, 'nft', 'list', 'table', 'ip', 'seen'));
    assert.equal(arrived(), 0);
    inPod(cluster, pod3, 'ping', '-c1', '-W5', ipOf(pod1));
    assert.equal(arrived(), 1, 'of a node of the cluster it is not');
    cluster.run('node1', 'nft', 'delete', 'table', 'ip', 'seen');
  });

  await t.test('BIRD killed: nothing is lost', async (t) => {
    const pings = [pod2, pod3].flatMap((to) => cluster.ping(t, pod1, to));
    await sleep(1000);
    const before = cluster.bird('node1');
    await cluster.kill(['node1'], 'bird');
    await until(PATIENCE, () => {
      const now = cluster.bird('node1');
      return now && now.pid !== before?.pid ? [] : ['BIRD does not run'];
    });
    await cluster.established(() => 2, 1, PATIENCE);
    assert.deepEqual(routes('node1').sort(), table(TUNNELLED));
    for (const ping of pings) {
      const { sent, lost } = await ping.end();
      t.diagnostic(`${lost.length} of ${sent} lost`);
      assert.deepEqual(lost, []);
    }
  });

  await t.test('CrossSubnet: only what goes to another network is encapsulated', async (t) => {
    const pings = [pod2, pod3].flatMap((to) => cluster.ping(t, pod1, to));
    await sleep(1000);
    const [pool] = await cluster.pools();
    assert.ok(pool);
    const spec = { cidr: pool.cidr, ipipMode: 'CrossSubnet', natOutgoing: true };
    await cluster.apply({ kind: 'IPPool', metadata: { name: pool.name }, spec });
    const begin = performance.now();
    await until(PATIENCE, () =>
      different(routes('node1'), table(PLAIN)).concat(
        routes('node3').some((line) => line.startsWith(`${block1} via ${NODE1} ${PLAIN}`)) ? [] : ['node3'],
      ),
    );
    t.diagnostic(`routes changed after ${seconds(begin)}`);
    await sleep(500);
    for (const ping of pings) {
      const { sent, lost } = await ping.end();
      t.diagnostic(`${lost.length} of ${sent} lost`);
      assert.deepEqual(lost, []);
    }
    const seen = await capture(cluster, 'node3', 'icmp', pod1, ipOf(pod3));
    assert.ok(
      seen.includes(`${ipOf(pod1)} > ${ipOf(pod3)}: ICMP echo request`) && !seen.includes('IPIP'),
      seen,
    );
    const far = await capture(cluster, 'node2', 'ip proto 4', pod1, ipOf(pod2));
    assert.match(far, new RegExp(` ${NODE1} > ${NODE2}: `));
    await cluster.reachable(PATIENCE);
  });

  await t.test('the tunnel heals', async (t) => {
    const addresses = (): string => cluster.run('node1', 'ip', '-o', 'addr', 'show', 'tunl0');
    const link = (): string => cluster.run('node1', 'ip', '-o', 'link', 'show', 'tunl0');
    const right = [link(), addresses()];
    const monitor = spawn('ip', ['-n', cluster.netns('node1'), 'monitor', 'link', 'address', 'route']);
    t.after(() => monitor.kill());
    let events = '';
    monitor.stdout.setEncoding('utf8').on('data', (text: string) => {
      events += text;
    });
    await sleep(1000);
    for (const fault of FAULTS) {
      events = '';
      const begin = performance.now();
      cluster.run('node1', ...fault.split(' '));
      // It may be healed before we can look.
      await until(PATIENCE, () => (events.includes('tunl0') ? [] : [`${fault} did nothing`]));
      const wrong = (): string[] => [
        ...different(routes('node1'), table(PLAIN)),
        ...different([link(), addresses()], right),
      ];
      const took = await until(HEALED, wrong, begin);
      t.diagnostic(`${fault}: ${Math.round(took)} ms`);
    }
    await cluster.reachable(PATIENCE);
  });
});

test('flannel’s way, on a kernel with ipip', { skip: CANNOT, timeout: 200_000 }, async () => {
  await using cluster = await BgpCluster.up(2, withPreset('flannel', NETWORK), 2);
  for (const node of cluster.nodes) await cluster.addPod(node);
  await cluster.reachable(PATIENCE);
});

const COUNT = (match: string): string =>
  `add table ip seen; add chain ip seen in { type filter hook prerouting priority -300; }; add rule ip seen in ${match} counter`;

/** What tcpdump says of the first packet on the node's wire that fits, while one pod pings an address. */
async function capture(
  cluster: BgpCluster,
  node: string,
  filter: string,
  from: PodRecord,
  to: Ip,
): Promise<string> {
  const command = ['tcpdump', '-c1', '-nn', '-v', '-l', '-i', 'eth0', filter];
  const dump = spawn('timeout', ['20', 'ip', 'netns', 'exec', cluster.netns(node), ...command], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let text = '';
  dump.stdout.on('data', (chunk: Buffer) => {
    text += chunk.toString();
  });
  const closed = once(dump, 'close');
  // It says that it listens.
  await once(dump.stderr, 'data');
  await sleep(200);
  inPod(cluster, from, 'ping', '-c1', '-W5', to);
  await closed;
  return text.replace(/\s+/g, ' ');
}

function inPod(cluster: BgpCluster, { namespace, name }: PodRecord, ...command: string[]): string {
  const netns = podNetns(cluster.lab.name, namespace, name);
  return execFileSync('ip', ['netns', 'exec', netns, ...command], { encoding: 'utf8', stdio: 'pipe' });
}

function ipOf({ addresses }: Pick<PodRecord, 'addresses'>): Ip {
  const [ip] = addresses;
  assert.ok(ip);
  return ip;
}

/** The /26 that a pod's address is of. */
function blockOf(pod: Pick<PodRecord, 'addresses'>): string {
  return `${ipOf(pod).replace(/\d+$/, (last) => String(Number(last) & 192))}/26`;
}

/** The device of a pod in the namespace `default`, as `sha1sum` has it. */
function caliOf(name: string): string {
  const sum = execFileSync('sha1sum', { input: `default.${name}`, encoding: 'utf8' });
  return `cali${sum.slice(0, 11)}`;
}

function lines(text: string): string[] {
  return text
    .split('\n')
    .map((line) => line.trim())
    .filter(Boolean);
}

function different(found: readonly string[], right: readonly string[]): string[] {
  return [
    ...right.filter((line) => !found.includes(line)).map((line) => `missing ${line}`),
    ...found.filter((line) => !right.includes(line)).map((line) => `stray ${line}`),
  ];
}

function seconds(since: number): string {
  return `${((performance.now() - since) / 1000).toFixed(1)} s`;
}
