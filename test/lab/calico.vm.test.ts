import assert from 'node:assert/strict';
import { execFile, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { readNetwork } from '../../src/cluster/network.ts';
import { BirdControl } from '../../src/companions/bird/daemon/control.ts';
import type { Ip } from '../../src/ip/address.ts';
import { withStore } from '../../src/lab/machine/store.ts';
import { withPreset } from '../../src/lab/network.ts';
import type { PodRecord } from '../../src/lab/pods/record.ts';
import { netnsOf, podNetns } from '../../src/lab/record/names.ts';
import { netnsPath } from '../../src/linux/netns.ts';
import type { RunningPing } from '../agent/running-ping.ts';
import { BgpCluster, until } from '../companions/bird/bgp-cluster.ts';
import { CANNOT, FLATNET } from './host.ts';
import { Tunnel } from './tunnel.ts';

/*
 * The Calico mode with its default settings, end to end. node1 and node3 are on one network, node2 is on
 * another, behind a router: 172.30.0.11, 172.30.1.12, 172.30.0.13.
 */
const [NODE1, NODE2, NODE3] = ['172.30.0.11', '172.30.1.12', '172.30.0.13'];
/** Timeout in milliseconds; an emulated machine is slow. */
const PATIENCE = 60_000;
/**
 * Limit from a fault to the repaired state, in milliseconds; an emulated machine is five to ten times slower.
 * BIRD itself scans the kernel only every 10 s.
 */
const HEALED = process.env.FLATNET_EMULATED ? 5000 : 1000;
/** BIRD reconnects after a second, its shortest setting. */
const RECONNECT = 1000;
const NETWORK = { Network: '10.244.0.0/16' };

test('the calico preset, on a kernel with ipip', { skip: CANNOT, timeout: 900_000 }, async (t) => {
  const begin = performance.now();
  await using cluster = await BgpCluster.up(3, withPreset('calico', NETWORK), 2);
  t.diagnostic(`up after ${seconds(begin)}`);
  for (const node of cluster.nodes) await cluster.addPod(node);
  const [pod1, pod2, pod3] = cluster.pods;
  assert.ok(pod1 && pod2 && pod3);
  const [block1, block2, block3] = [pod1, pod2, pod3].map(blockOf);
  await cluster.established(() => 2, 1, PATIENCE);
  t.diagnostic(`sessions after ${seconds(begin)}`);

  await t.test('every pod reaches every pod without NAT', async () => {
    await cluster.reachable(PATIENCE);
  });

  const routes = (node: string): string[] => lines(cluster.run(node, 'ip', 'route'));
  const tunnel = /inet (\S+)\/32 scope global tunl0/.exec(cluster.run('node1', 'ip', 'addr'))?.[1];
  /** node1's routing table, with the given path to node3's block. */
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

  await t.test('IPIP packets from a foreign host are dropped', () => {
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
    assert.deepEqual(counts(cluster.run('node1', 'nft', 'list', 'table', 'ip', 'seen')), [1]);
    const arrived = (): number[] => counts(inPod(cluster, pod1, 'nft', 'list', 'table', 'ip', 'seen'));
    assert.deepEqual(arrived(), [0]);
    inPod(cluster, pod3, 'ping', '-c1', '-W5', ipOf(pod1));
    assert.deepEqual(arrived(), [1], 'those from a cluster node are not dropped');
    cluster.run('node1', 'nft', 'delete', 'table', 'ip', 'seen');
  });

  await t.test(
    'the host reaches remote pods from its tunnel address, whatever source address it starts with',
    () => {
      const OTHER = '192.0.2.7';
      inPod(cluster, pod2, 'nft', COUNT(`ip saddr ${tunnel} icmp type echo-request`));
      cluster.run('node1', 'ip', 'address', 'add', `${OTHER}/32`, 'dev', 'lo');
      for (const from of [[], ['-I', NODE1], ['-I', OTHER]]) {
        cluster.run('node1', 'ping', '-c1', '-W5', ...from, ipOf(pod2));
      }
      cluster.run('node1', 'ip', 'address', 'del', `${OTHER}/32`, 'dev', 'lo');
      assert.deepEqual(counts(inPod(cluster, pod2, 'nft', 'list', 'table', 'ip', 'seen')), [3]);
    },
  );

  await t.test('tunnel packets from a pod are dropped by its node', () => {
    const matches = ['ip protocol 4', ...[4789, 8472, 4790].map((port) => `udp dport ${port}`)];
    const hooks = { came: 'prerouting priority -400', went: 'forward priority 400' };
    const rules = Object.entries(hooks).flatMap(([name, hook]) => [
      `add chain ip seen ${name} { type filter hook ${hook}; }`,
      ...matches.map((match) => `add rule ip seen ${name} ip saddr ${ipOf(pod1)} ${match} counter`),
    ]);
    cluster.run('node1', 'nft', ['add table ip seen', ...rules].join(';'));
    inPod(cluster, pod1, 'ip', 'link', 'set', 'tunl0', 'up');
    inPod(cluster, pod1, 'ip', 'route', 'add', '192.0.2.9', 'via', NODE2, 'dev', 'tunl0', 'onlink');
    assert.throws(() => inPod(cluster, pod1, 'ping', '-c1', '-W1', '192.0.2.9'));
    inPod(cluster, pod1, 'ip', 'link', 'set', 'tunl0', 'down');
    const send = `for port in 4789 8472 4790; do echo >/dev/udp/${NODE2}/$port; done`;
    inPod(cluster, pod1, 'bash', '-c', send);
    const seen = (chain: string): number[] =>
      counts(cluster.run('node1', 'nft', 'list', 'chain', 'ip', 'seen', chain));
    assert.deepEqual(
      [seen('came'), seen('went')],
      [
        [1, 1, 1, 1],
        [0, 0, 0, 1],
      ],
      'only port 4790 belongs to no tunnel',
    );
    cluster.run('node1', 'nft', 'delete', 'table', 'ip', 'seen');
  });

  await t.test('BIRD killed: nothing is lost', async (t) => {
    const pings = [pod2, pod3].flatMap((to) => cluster.ping(t, pod1, to));
    await answered(pings);
    const before = cluster.bird('node1');
    await cluster.kill(['node1'], 'bird');
    await until(PATIENCE, () => {
      const now = cluster.bird('node1');
      return now && now.pid !== before?.pid ? [] : ['BIRD is not running'];
    });
    await cluster.established(() => 2, 1, PATIENCE);
    assert.deepEqual(routes('node1').sort(), table(TUNNELLED));
    await none(t, pings);
  });

  await t.test('Always: the tunnel is repaired', (t) => heals(t, cluster));

  await t.test('routes set by the agent: no session is needed, and nothing is lost', async (t) => {
    const pings = [pod2, pod3].flatMap((to) => cluster.ping(t, pod1, to));
    await answered(pings);
    const owned = [`${block2} via ${NODE2} dev tunl0`, `${block3} via ${NODE3} dev tunl0`].map(
      (path) => `${path} proto 111 onlink`,
    );
    await route(cluster, 'agent');
    for (const node of ['node1', 'node2', 'node3']) {
      const own = (): string[] =>
        routes(node).filter((line) => / via .* dev tunl0 proto 111 onlink/.test(line));
      await until(PATIENCE, () => (own().length === 2 ? [] : [`${node}: ${own()}`]));
    }
    assert.deepEqual(routes('node1').sort(), [...table(TUNNELLED), ...owned].sort());
    await birdc(cluster, 'disable "Node_*"');
    await until(PATIENCE, () => routes('node1').filter((line) => line.includes('proto bird')));
    for (const to of [pod2, pod3]) inPod(cluster, pod1, 'ping', '-c1', '-W5', ipOf(to));
    await birdc(cluster, 'enable "Node_*"');
    await cluster.established(() => 2, 1, PATIENCE);
    await route(cluster, 'bird');
    await until(PATIENCE, () => different(routes('node1'), table(TUNNELLED)));
    await none(t, pings);
  });

  /** Differences from a cluster without tunnels, in which the block behind the router is unreachable. */
  const plain = (): string[] => [
    ...cluster.nodes.flatMap((node) => routes(node).filter((line) => line.includes('tunl0'))),
    ...(routes('node1').includes(`${block3} via ${NODE3} ${PLAIN}`) ? [] : ['node1 has no route to node3']),
    ...(routes('node3').includes(`${block1} via ${NODE1} ${PLAIN}`) ? [] : ['node3 has no route to node1']),
  ];
  const tunnelOf = (node: string): string[] =>
    lines(cluster.run(node, 'ip', '-o', 'link', 'show', 'tunl0')).filter((line) => /UP|alias/.test(line));

  await t.test('Never, by flatnet apply: nothing is lost, and no tunnel is left', async (t) => {
    const pings = [...cluster.ping(t, pod1, pod3), ...cluster.ping(t, pod3, pod1)];
    await answered(pings);
    const begin = performance.now();
    await encapsulate(cluster, 'Never');
    await until(PATIENCE, () => plain());
    t.diagnostic(`routes changed after ${seconds(begin)}`);
    // An agent that starts now has no memory of the tunnel.
    await cluster.kill(['node3'], 'agent');
    await cluster.start(['node3']);
    await until(PATIENCE, () => cluster.nodes.flatMap(tunnelOf));
    t.diagnostic(`no tunnel after ${seconds(begin)}`);
    await none(t, pings);
    assert.deepEqual(plain(), []);
    const link = (): string => inPod(cluster, pod1, 'ip', 'link', 'show', 'eth0');
    await until(PATIENCE, () => (/ mtu 1500 /.test(link()) ? [] : [link()]));
  });

  await t.test('Always, by flatnet apply, and an agent restarted: nothing is lost', async (t) => {
    const pings = [...cluster.ping(t, pod1, pod3), ...cluster.ping(t, pod3, pod1)];
    await answered(pings);
    const begin = performance.now();
    await encapsulate(cluster, 'Always');
    await until(PATIENCE, () => different(routes('node1'), table(TUNNELLED)));
    t.diagnostic(`routes changed after ${seconds(begin)}`);
    await cluster.reachable(PATIENCE);
    await cluster.kill(['node1'], 'agent');
    await cluster.start(['node1']);
    await sleep(1000);
    await none(t, pings);
    assert.deepEqual(different(routes('node1'), table(TUNNELLED)), []);
  });

  await t.test(
    'CrossSubnet, by flatnet apply: only packets to another network are encapsulated',
    async (t) => {
      const pings = [pod2, pod3].flatMap((to) => cluster.ping(t, pod1, to));
      await answered(pings);
      const begin = performance.now();
      await encapsulate(cluster, 'CrossSubnet');
      await until(PATIENCE, () =>
        different(routes('node1'), table(PLAIN)).concat(
          routes('node3').some((line) => line.startsWith(`${block1} via ${NODE1} ${PLAIN}`)) ? [] : ['node3'],
        ),
      );
      t.diagnostic(`routes changed after ${seconds(begin)}`);
      await sleep(500);
      await none(t, pings);
      const seen = await capture(cluster, 'node3', 'icmp', pod1, ipOf(pod3));
      assert.ok(
        seen.includes(`${ipOf(pod1)} > ${ipOf(pod3)}: ICMP echo request`) && !seen.includes('IPIP'),
        seen,
      );
      const far = await capture(cluster, 'node2', 'ip proto 4', pod1, ipOf(pod2));
      assert.match(far, new RegExp(` ${NODE1} > ${NODE2}: `));
      await cluster.reachable(PATIENCE);
    },
  );
});

const COUNT = (match: string): string =>
  `add table ip seen; add chain ip seen in { type filter hook prerouting priority -300; }; add rule ip seen in ${match} counter`;

/** Returns the packet counts of nftables’ counters, in order. */
function counts(text: string): number[] {
  return [...text.matchAll(/packets (\d+)/g)].map(([, packets]) => Number(packets));
}

/** Causes one fault in node1’s tunnel after another. */
async function heals(t: TestContext, cluster: BgpCluster): Promise<void> {
  using tunnel = new Tunnel(netnsPath(cluster.netns('node1')));
  const faults: readonly [name: string, limit: number, act: () => unknown][] = [
    ['tunl0 down', HEALED, () => tunnel.down()],
    ['its addresses deleted', HEALED, () => tunnel.flushAddresses()],
    ['its routes deleted', HEALED, () => tunnel.deleteRoutes()],
    ['one of its routes deleted', HEALED, () => tunnel.deleteRoutes(1)],
    ['its MTU changed', HEALED, () => tunnel.setMtu(1300)],
    // The kernel reloads the module on demand; until then all nodes lack it.
    ['tunl0 deleted, with its module', PATIENCE, () => cluster.run('node1', 'rmmod', 'ipip')],
    ['sessions restarted', HEALED + RECONNECT, () => birdc(cluster, 'restart "Node_*"')],
  ];
  const right = await tunnel.state();
  for (const [name, limit, act] of faults) {
    await act();
    const begin = performance.now();
    const took = await until(limit, async () => different(await tunnel.state(), right), begin);
    // BIRD drops a session's routes somewhat later than it reports; and the repaired state must last.
    await sleep(200);
    const after = await until(limit, async () => different(await tunnel.state(), right), begin);
    t.diagnostic(`${name}: ${Math.round(after > took + 400 ? after : took)} ms`);
  }
  // On the other nodes too.
  await cluster.established(() => 2, 1, PATIENCE);
  await cluster.reachable(PATIENCE);
}

/** Configures whether BIRD or the agent sets the routes to other nodes. */
async function route(cluster: BgpCluster, routes: 'bird' | 'agent'): Promise<void> {
  const network = readNetwork(withPreset('calico', { ...NETWORK, Backend: { Type: 'bgp', routes } }));
  await withStore(cluster.lab, ({ network: stored }) => stored.write(network));
}

/** Sends a command to node1’s BIRD. */
async function birdc(cluster: BgpCluster, command: string): Promise<void> {
  const { control } = await BirdControl.open(cluster.birdFiles('node1').socket);
  await control.request(command);
  control[Symbol.dispose]();
}

/** Changes the pool as a user does. */
async function encapsulate(cluster: BgpCluster, ipipMode: string): Promise<void> {
  const [pool] = await cluster.pools();
  assert.ok(pool);
  const folder = mkdtempSync(join(tmpdir(), 'flatnet-pool-'));
  try {
    const file = join(folder, 'pool.json');
    const spec = { cidr: pool.cidr, ipipMode, natOutgoing: true };
    const head = { apiVersion: 'projectcalico.org/v3', kind: 'IPPool', metadata: { name: pool.name } };
    writeFileSync(file, JSON.stringify({ ...head, spec }));
    // The first start on an emulated machine spends a minute on loading the program.
    await promisify(execFile)(FLATNET, ['apply', '-f', file, '--lab', cluster.lab.name]);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

async function answered(pings: readonly RunningPing[]): Promise<void> {
  await Promise.all(pings.map((ping) => ping.answered()));
}

/** Ends the pings and asserts that none has lost a packet. */
async function none(t: TestContext, pings: readonly RunningPing[]): Promise<void> {
  for (const ping of pings) {
    const { sent, lost } = await ping.end();
    t.diagnostic(`${lost.length} of ${sent} lost`);
    assert.ok(sent > 0);
    assert.deepEqual(lost, []);
  }
}

/** Returns tcpdump's output for the first matching packet on the node's wire while a pod pings an address. */
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
  // tcpdump reports that it listens.
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

/** Returns the /26 block that contains a pod's address. */
function blockOf(pod: Pick<PodRecord, 'addresses'>): string {
  return `${ipOf(pod).replace(/\d+$/, (last) => String(Number(last) & 192))}/26`;
}

/** Returns the device name of a pod in the namespace `default`, according to `sha1sum`. */
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
