import assert from 'node:assert/strict';
import { execFile, spawn, spawnSync } from 'node:child_process';
import { closeSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { networkToNetConf, readNetwork } from '../../../src/cluster/network.ts';
import { programsAt, removePrograms } from '../../../src/companions/udp/fast-path/programs.ts';
import { UdpFiles } from '../../../src/companions/udp/files.ts';
import { INSTALLATION } from '../../../src/installation.ts';
import type { Ip } from '../../../src/ip/address.ts';
import { agentReady, agentStatus, startAgent, stopAgent } from '../../../src/lab/machine/agent.ts';
import { Assembler } from '../../../src/linux/bpf/assembler.ts';
import { idOf, loadProgram } from '../../../src/linux/bpf/program.ts';
import { attach, attachedAt } from '../../../src/linux/bpf/tcx.ts';
import { netnsPath, withNetns } from '../../../src/linux/netns.ts';
import { argvOf, isAlive, spawnDetached } from '../../../src/linux/process.ts';
import { sockaddr } from '../../../src/linux/sockaddr.ts';
import * as sys from '../../../src/linux/sys.ts';
import { Cluster, LAYOUT, type TestNode } from '../../agent/cluster.ts';
import { NETWORKS } from '../../agent/networks.ts';
import { RunningPing } from '../../agent/running-ping.ts';
import { settled } from '../../agent/settle.ts';
import { eventually } from '../../store/servers.ts';

const UDP = NETWORKS['udp dual stack'];
const PORT = 8285;
const AF_INET = 2;
const SOCK_DGRAM = 2;

/** Sends 24 MB of TCP from one namespace to an address in another; returns whether they arrived as sent. */
async function isStreamIntact(from: string, to: string, address: string): Promise<boolean> {
  const receiver = spawn('nsenter', [
    `--net=${to}`,
    process.execPath,
    '-e',
    `const hash = require('node:crypto').createHash('sha256');
     const server = require('node:net').createServer((socket) => {
       socket.on('data', (chunk) => hash.update(chunk));
       socket.on('end', () => { console.log(hash.digest('hex')); process.exit(); });
     }).listen(7000, '${address}', () => console.log('listening'));`,
  ]);
  try {
    const lines = createInterface({ input: receiver.stdout })[Symbol.asyncIterator]();
    assert.equal((await lines.next()).value, 'listening');
    const { stdout } = await promisify(execFile)('nsenter', [
      `--net=${from}`,
      process.execPath,
      '-e',
      `const bytes = require('node:crypto').randomBytes(24 << 20);
       const socket = require('node:net').connect(7000, '${address}', () => socket.end(bytes));
       console.log(require('node:crypto').hash('sha256', bytes));`,
    ]);
    return (await lines.next()).value === stdout.trim();
  } finally {
    receiver.kill('SIGKILL');
  }
}

/** A cluster of two nodes, pinging each other's pods in both families. */
class Pair implements AsyncDisposable {
  readonly cluster: Cluster;
  readonly one: TestNode;
  readonly two: TestNode;
  readonly pings: readonly RunningPing[];

  private constructor(t: TestContext, cluster: Cluster) {
    const [one, two] = cluster.nodes.values();
    assert.ok(one && two);
    this.cluster = cluster;
    this.one = one;
    this.two = two;
    this.pings = [
      [one, two],
      [two, one],
    ].flatMap(([from, to]) =>
      (to?.pods[0]?.record.addresses ?? []).map((ip) => new RunningPing(t, podNetnsOf(cluster, from), ip)),
    );
  }

  static async up(t: TestContext, language: 'C' | 'TypeScript', conf: object = UDP): Promise<Pair> {
    process.env.FLATNET_UDP_FORWARDER = language.toLowerCase();
    const cluster = await Cluster.up(2, conf);
    await settled(cluster);
    const pair = new Pair(t, cluster);
    for (const ping of pair.pings) await ping.answered();
    const [program = ''] = argvOf(pair.forwarder(pair.one).id.pid);
    assert.equal(program === INSTALLATION.udpForwarder, language === 'C');
    return pair;
  }

  files({ name }: TestNode): UdpFiles {
    return new UdpFiles(join(this.cluster.lab.paths.node(name).agent.run, 'udp'));
  }

  forwarder(node: TestNode) {
    return this.files(node).process() ?? assert.fail(`${node.name} has no forwarder`);
  }

  /** Packets lost so far, by ping. */
  get lost(): readonly number[] {
    return this.pings.map((ping) => ping.soFar().lost.length);
  }

  /** Waits until each ping is answered again. */
  async answered(): Promise<void> {
    const before = this.pings.map((ping) => ping.soFar().sent);
    await eventually(() => this.pings.every((ping, i) => ping.soFar().sent > (before[i] ?? 0) + 20));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.cluster[Symbol.asyncDispose]();
  }
}

function podNetnsOf(cluster: Cluster, node: TestNode | undefined): string {
  const record = node?.pods[0]?.record;
  assert.ok(record);
  return cluster.podNetns(record);
}

test('the kernel carries ordinary packets, heals, and leaves other people’s programs alone', async (t) => {
  await using pair = await Pair.up(t, 'C');
  const { cluster, one, two } = pair;
  const pods = [one, two].map((node) => netnsPath(podNetnsOf(cluster, node)));
  const [from = '', to = ''] = pods;
  const [address = ''] = two.pods[0]?.record.addresses ?? [];
  const there = netnsPath(cluster.netns(two));
  const statusOf = (node: TestNode) => agentStatus(cluster.lab, node.name);
  for (const node of [one, two])
    await eventually(async () =>
      /^programs in the kernel to 1 node/.test((await statusOf(node))?.carrier ?? ''),
    );

  // By the kernel alone, though the device is told to cut what it sends, and the pod's to cut what it gets.
  const hostDevice = two.pods[0]?.hostDevice ?? '';
  const cuts: [TestNode, string][] = [
    [one, 'eth0'],
    [two, hostDevice],
  ];
  for (const [node, dev] of [undefined, ...cuts].map((cut) => cut ?? ([one, 'lo'] as const))) {
    cluster.ip(node, `link set ${dev} gso_max_size 3000`);
    const before = (await statusOf(one))?.packets?.sent ?? 0;
    const forwarded = pair.files(one).readCounters().sent ?? 0;
    assert.ok(await isStreamIntact(from, to, address), `cut by ${dev}`);
    const after = (await statusOf(one))?.packets?.sent ?? 0;
    assert.ok(after - before > 10_000, `${after - before} packets`);
    assert.ok((pair.files(one).readCounters().sent ?? 0) - forwarded < 5000, 'pings in IPv6');
    cluster.ip(node, `link set ${dev} gso_max_size 65536`);
  }

  const indexOf = (node: TestNode, dev: string): number =>
    Number(JSON.parse(cluster.ip(node, `-j link show dev ${dev}`))[0]?.ifindex);
  const [underlay, device] = [indexOf(two, 'eth0'), indexOf(two, 'flannel0')];
  // Theirs does nothing: `r0 = TCX_NEXT; exit`.
  const theirs = loadProgram('theirs', new Assembler().move('r0', -1).exit().assemble());
  t.after(() => closeSync(theirs));
  const place = { dev: underlay, side: 'ingress' } as const;
  withNetns(there, () => attach(place, theirs));
  withNetns(there, () => {
    for (const dev of [underlay, device]) removePrograms(dev);
  });
  await eventually(
    () => withNetns(there, () => programsAt(underlay).length + programsAt(device).length === 2),
    2000,
  );
  await pair.answered();

  // What the node's routes send by another device, a VPN's perhaps, leaves by that.
  const peer = cluster.self(two).underlay.addresses[4];
  const sentBy = (dev: string): number =>
    Number(JSON.parse(cluster.ip(one, `-j -s link show dev ${dev}`))[0]?.stats64?.tx?.packets);
  const byKernel = async (): Promise<number> =>
    ((await statusOf(one))?.packets?.sent ?? 0) - (pair.files(one).readCounters().sent ?? 0);
  cluster.ip(one, 'link add link eth0 name vpn0 type macvlan mode bridge');
  cluster.ip(one, 'link set vpn0 up arp off');
  // Nobody is to learn its MAC, which goes with it.
  const { address: mac } = JSON.parse(cluster.ip(two, '-j link show dev eth0'))[0];
  cluster.ip(one, `neighbour replace ${peer} lladdr ${mac} dev vpn0`);
  cluster.ip(one, `route add ${peer} dev vpn0`);
  const [sentBefore, byKernelBefore] = [sentBy('vpn0'), await byKernel()];
  await pair.answered();
  assert.ok(sentBy('vpn0') - sentBefore >= 20);
  // The pings in IPv6 are counted between two reads.
  assert.ok((await byKernel()) - byKernelBefore < 10);
  cluster.ip(one, 'link delete vpn0');
  await eventually(async () => (await byKernel()) - byKernelBefore > 10);

  // IPsec would not see what they send.
  const before = pair.lost;
  cluster.ip(two, 'xfrm policy add dir out src 192.0.2.1 dst 192.0.2.2');
  await eventually(async () => (await statusOf(two))?.carrier === 'the forwarder (there are IPsec policies)');
  assert.deepEqual(
    withNetns(there, () => programsAt(device)),
    [],
  );

  const network = readNetwork({ ...UDP, Backend: { Type: 'udp', fastPath: false } });
  await cluster.store((kv) => kv.put(LAYOUT.config, networkToNetConf(network)));
  await eventually(async () => (await statusOf(two))?.carrier === 'the forwarder (fastPath is false)');
  await pair.answered();
  assert.ok(await isStreamIntact(from, to, address), 'by the forwarder');
  await eventually(() => withNetns(there, () => programsAt(underlay).length === 0), 20_000);
  await pair.answered();
  assert.deepEqual(pair.lost, before);
  assert.ok(withNetns(there, () => attachedAt(place)).includes(idOf(theirs)));
});

for (const language of ['C', 'TypeScript'] as const) {
  const of = (what: string): string => `${what} (${language})`;

  test(of('agents end and are replaced, and so is the forwarder, without losing a packet'), async (t) => {
    await using pair = await Pair.up(t, language);
    const { cluster, one } = pair;
    const { id } = pair.forwarder(one);
    for (const how of ['kill', 'stop'] as const) {
      await stopAgent(cluster.lab, one.name, how);
      await sleep(500);
      await startAgent(cluster.lab, one.name);
      await agentReady(cluster.lab, one.name);
      await pair.answered();
      assert.deepEqual(pair.forwarder(one).id, id, 'the agent adopts it');
    }
    const { running } = pair.files(one);
    for (let upgrades = 0; upgrades < 3; upgrades++) {
      const former = pair.forwarder(one).id;
      // To the next agent, it is of another version.
      writeFileSync(running, readFileSync(running, 'utf8').replace(/ .*/, ' 0.0.0-other'));
      await stopAgent(cluster.lab, one.name, 'kill');
      await startAgent(cluster.lab, one.name);
      await eventually(() => !isAlive(former), 20_000);
      await pair.answered();
      assert.notEqual(pair.forwarder(one).id.pid, former.pid);
    }
    assert.deepEqual(pair.lost, [0, 0, 0, 0]);
    await settled(cluster);
  });

  test(of('a killed forwarder, and a deleted device, are back within seconds'), async (t) => {
    await using pair = await Pair.up(t, language);
    const { cluster, one } = pair;
    const { id } = pair.forwarder(one);
    process.kill(id.pid, 'SIGKILL');
    await pair.answered();
    assert.notEqual(pair.forwarder(one).id.pid, id.pid);
    const { pid } = pair.forwarder(one).id;
    cluster.ip(one, 'link del flannel0');
    await pair.answered();
    await settled(cluster);
    assert.equal(pair.forwarder(one).id.pid, pid, 'the same process has opened a new device');
    // An agent dies while one relieves another.
    const files = pair.files(one);
    const netns = `/run/netns/${cluster.netns(one)}`;
    await stopAgent(cluster.lab, one.name, 'kill');
    const next = await spawnDetached(argvOf(pid), { logFile: files.log, env: {}, netns });
    await eventually(() => files.process()?.id.pid === next.pid);
    await startAgent(cluster.lab, one.name);
    await agentReady(cluster.lab, one.name);
    await eventually(() => files.all().length === 1);
    await pair.answered();
    assert.equal(pair.forwarder(one).id.pid, next.pid);
    t.diagnostic(`lost, of 100 a second and more: ${pair.lost.join(', ')}`);
  });

  test(of('what is no packet, or no node’s, is dropped and counted, in floods too'), async (t) => {
    await using pair = await Pair.up(t, language, { ...UDP, Backend: { Type: 'udp', membersOnly: false } });
    const { cluster, one, two } = pair;
    const to = cluster.self(two).underlay.addresses[4];
    const stranger = '172.30.0.99' as Ip;
    assert.ok(to);
    // Not of the underlay interface, all of whose addresses its node lists as its own.
    cluster.ip(one, `address add ${stranger}/32 dev lo`);
    const before = pair.files(two).readCounters();
    const inner = Buffer.from('4500001c000100004011', 'hex');
    const payloads = [
      Buffer.alloc(0),
      Buffer.from('4'),
      inner,
      Buffer.alloc(1400, 0x45),
      Buffer.alloc(60, 0xff),
    ];
    const netns = `/run/netns/${cluster.netns(one)}`;
    for (const [from, counter] of [
      [stranger, 'strangers'],
      [cluster.self(one).underlay.addresses[4] ?? stranger, 'malformed'],
    ] as const) {
      const fd = withNetns(netns, () => sys.socket(AF_INET, SOCK_DGRAM, 0));
      sys.bind(fd, sockaddr(from, 0));
      // The kernel drops some of a flood before.
      await eventually(async () => {
        for (let i = 0; i < 5000; i++)
          sys.sendto(fd, payloads[i % payloads.length] ?? inner, 0, sockaddr(to, PORT));
        await sleep(200);
        return (pair.files(two).readCounters()[counter] ?? 0) > (before[counter] ?? 0) + 5000;
      });
      closeSync(fd);
    }
    await pair.answered();
    assert.ok(isAlive(pair.forwarder(two).id));
    const packets = (await agentStatus(cluster.lab, two.name))?.packets;
    assert.ok((packets?.strangers ?? 0) > 5000 && (packets?.sent ?? 0) > 0, JSON.stringify(packets));
  });

  test(of('senders are told why their packets go nowhere'), async (t) => {
    await using pair = await Pair.up(t, language);
    const { cluster, one, two } = pair;
    const pod = podNetnsOf(cluster, one);
    const [target = ''] = two.pods[0]?.record.addresses ?? [];
    const said = (...command: string[]): string =>
      spawnSync('ip', ['netns', 'exec', pod, ...command], { encoding: 'utf8' }).stdout;
    // The node's own kernel takes one off first.
    assert.match(said('ping', '-n', '-c1', '-W2', '-t2', target), /Time to live exceeded/i);
    cluster.ip(one, 'route add 10.244.250.0/24 dev flannel0');
    assert.match(said('ping', '-n', '-c1', '-W2', '10.244.250.1'), /Unreachable/i);
  });
}

test('a forwarder that does not answer the next one is ended, and what it says too late ends nobody', async (t) => {
  await using pair = await Pair.up(t, 'C');
  const { cluster, one } = pair;
  const files = pair.files(one);
  const { id } = pair.forwarder(one);
  process.kill(id.pid, 'SIGSTOP');
  const netns = `/run/netns/${cluster.netns(one)}`;
  const next = await spawnDetached(argvOf(id.pid), { logFile: files.log, env: {}, netns });
  await eventually(() => files.process()?.id.pid === next.pid);
  process.kill(id.pid, 'SIGCONT');
  await eventually(() => !isAlive(id));
  await pair.answered();
  // The agent may have noticed that its own is gone, and started another, to which the next one gives way.
  const { id: last } = await eventually(() => files.process());
  assert.ok(isAlive(last) && last.pid !== id.pid);
});

test('the forwarder of a former backend is supervised, also by the next agent', async (t) => {
  await using pair = await Pair.up(t, 'C');
  const { cluster, one } = pair;
  const network = readNetwork({ ...UDP, Backend: { Type: 'host-gw' } });
  await cluster.store((kv) => kv.put(LAYOUT.config, networkToNetConf(network)));
  await eventually(async () => (await agentStatus(cluster.lab, one.name))?.backend === 'host-gw');
  await stopAgent(cluster.lab, one.name, 'kill');
  await startAgent(cluster.lab, one.name);
  await agentReady(cluster.lab, one.name);
  const { id } = pair.forwarder(one);
  process.kill(id.pid, 'SIGKILL');
  await eventually(() => ![undefined, id.pid].includes(pair.files(one).process()?.id.pid));
  await pair.answered();
});
