import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { TunnelFacts } from '../../src/backends/bgp-tunnel.ts';
import type { Self } from '../../src/cluster/node.ts';
import type { Encapsulation } from '../../src/cluster/resources.ts';
import { nthIp } from '../../src/ip/cidr.ts';
import { composedState } from '../desired/composed.ts';
import { NO_KERNEL, Running } from '../state/namespace.ts';
import { factsOf, nodesOf, type Plan, podsOf, selfOf } from './cluster.ts';

/*
 * Nodes on one network, each a namespace with a pod in another. The agent's routes stand for BIRD's: of these
 * tests it does not matter who set them.
 */
const SIZE = 3;
const plan = (ipip: Encapsulation): Plan => ({
  size: SIZE,
  families: [4],
  backend: { Type: 'bgp', routes: 'agent', ipip },
  networks: 1,
});

function run(...command: string[]): string {
  const [program = '', ...args] = command;
  return execFileSync(program, args, { encoding: 'utf8', stdio: 'pipe' });
}

const HOST_MAC = 'ee:ee:ee:ee:ee:ee';
/** Milliseconds: an emulated machine is slow, especially when it loads modules for the first table. */
const LIMIT = 60_000;
const DAMAGES = [
  'ip link set tunl0 down',
  'ip link set tunl0 mtu 1300',
  'ip address flush dev tunl0',
  'ip route flush proto 111 dev tunl0',
  'ip link set tunl0 alias mine',
  'sysctl -qw net/ipv4/conf/tunl0/rp_filter=1',
  'nft flush set ip flatnet-tunnels nodes',
  'nft delete table ip flatnet-tunnels',
  'rmmod ipip',
];

class Cluster implements Disposable {
  readonly #prefix = `fn-ipip-${process.pid}`;
  readonly #running = new Map<number, Running>();

  constructor() {
    run('ip', 'netns', 'add', this.#name('wire'));
    this.#batch('wire', 'link add br0 type bridge', 'link set br0 up');
    for (let i = 0; i < SIZE; i++) this.#addNode(i);
  }

  #name(what: string): string {
    return `${this.#prefix}-${what}`;
  }

  /** Runs a command in a namespace: `wire`, `node0`, `pod0`, … */
  in(where: string, command: string): string {
    return run('ip', 'netns', 'exec', this.#name(where), ...command.split(' '));
  }

  #batch(where: string, ...commands: readonly string[]): void {
    const input = commands.join('\n');
    execFileSync('ip', ['-n', this.#name(where), '-batch', '-'], { input, stdio: 'pipe' });
  }

  /**
   * Makes the nodes in `nodes` known to each other, with pools of this encapsulation; returns the
   * milliseconds until their kernels hold the result.
   */
  async know(ipip: Encapsulation, nodes: readonly number[]): Promise<number> {
    const peers = nodesOf(plan(ipip)).filter((_, i) => nodes.includes(i));
    for (const i of nodes) {
      let running = this.#running.get(i);
      if (!running) {
        running = new Running({ path: `/run/netns/${this.#name(`node${i}`)}` });
        this.#running.set(i, running);
      }
      running.want(composedState({ ...factsOf(plan(ipip), i, peers), self: self(i) }).items);
    }
    return this.settled();
  }

  /** Returns the milliseconds until the kernels hold what they should. */
  async settled(): Promise<number> {
    const all = [...this.#running.values()];
    const took = await Promise.all(all.map((each) => each.settled(LIMIT)));
    // Only the reconciler can tell whether a table is right.
    await Promise.all(all.map((each) => each.reconciler.run()));
    return Math.max(...took);
  }

  /** Pending changes of each node. */
  async leftToDo(): Promise<readonly unknown[]> {
    const reports = await Promise.all([...this.#running.values()].map((each) => each.reconciler.run()));
    return reports.flatMap(({ done, undone }) => [...done, ...undone]);
  }

  /** Whether a ping is answered. */
  ping(from: string, to: string, ...options: string[]): boolean {
    try {
      this.in(from, ['ping', '-c1', '-W2', ...options, to].join(' '));
      return true;
    } catch {
      return false;
    }
  }

  /** Runs `act` and returns tcpdump's line for the first matching packet. */
  async capture(where: string, filter: string, act: () => void): Promise<string> {
    const tcpdump = ['tcpdump', '-c1', '-nn', '-e', '-v', '-l', '-i', 'eth0', filter];
    const dump = spawn('timeout', ['20', 'ip', 'netns', 'exec', this.#name(where), ...tcpdump], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let text = '';
    dump.stdout.on('data', (chunk: Buffer) => {
      text += chunk.toString();
    });
    const closed = once(dump, 'close');
    // Wait until it is listening.
    await once(dump.stderr, 'data');
    await sleep(200);
    act();
    await closed;
    return text.replace(/\s+/g, ' ');
  }

  [Symbol.dispose](): void {
    for (const each of this.#running.values()) each[Symbol.dispose]();
    for (const name of run('ip', 'netns', 'list').match(/^\S+/gm) ?? []) {
      if (name.startsWith(`${this.#prefix}-`)) run('ip', 'netns', 'del', name);
    }
  }

  #addNode(i: number): void {
    const [node, pod] = [`node${i}`, `pod${i}`];
    for (const what of [node, pod]) run('ip', 'netns', 'add', this.#name(what));
    this.#batch(
      'wire',
      `link add port${i} type veth peer name eth0 netns ${this.#name(node)}`,
      `link set port${i} master br0 up`,
    );
    this.#batch(
      node,
      'link set lo up',
      `address add ${self(i).underlay.addresses[4]}/16 dev eth0`,
      'link set eth0 up',
      `link add cali0 address ${HOST_MAC} type veth peer name eth0 mtu 1480 netns ${this.#name(pod)}`,
    );
    this.#batch(
      pod,
      `address add ${podIp(i)}/32 dev eth0`,
      'link set eth0 up',
      `neigh add 169.254.1.1 lladdr ${HOST_MAC} nud permanent dev eth0`,
      'route add 169.254.1.1 dev eth0',
      'route add default via 169.254.1.1',
    );
  }
}

function self(i: number): Self<TunnelFacts> {
  const bare = selfOf(plan('Always'), i);
  const [subnet] = bare.node.subnets;
  assert.ok(subnet);
  return { ...bare, companion: { address: nthIp(subnet, 1) } };
}

function podIp(i: number): string {
  return podsOf(plan('Always'), i)[0]?.addresses[0] ?? '';
}

test('IPIP between nodes', { skip: NO_KERNEL, timeout: 240_000 }, async (t) => {
  using cluster = new Cluster();
  const [from, to] = [podIp(0), podIp(1)];
  const tunnel = String(self(0).companion?.address);
  t.diagnostic(`from nothing: ${Math.round(await cluster.know('Always', [0, 1]))} ms`);

  await t.test(
    'Always: two IP headers on the wire, and packets up to the MTU pass unfragmented',
    async () => {
      assert.deepEqual(await cluster.leftToDo(), []);
      const seen = await cluster.capture('node1', 'ip proto 4', () => assert.ok(cluster.ping('pod0', to)));
      assert.match(seen, /proto IPIP \(4\), .* 172\.16\.0\.2 > 172\.16\.0\.3: \(.* proto ICMP \(1\)/);
      assert.ok(seen.includes(`${from} > ${to}: ICMP echo request`), seen);
      assert.ok(cluster.ping('pod0', to, '-Mdo', '-s1452'), '1480 bytes');
      assert.ok(!cluster.ping('pod0', to, '-Mdo', '-s1453'), '1481 bytes');
    },
  );

  await t.test('the host itself uses its tunnel address', async () => {
    const asks = (...options: string[]) =>
      cluster.capture('pod1', 'icmp', () => assert.ok(cluster.ping('node0', to, ...options)));
    assert.ok((await asks()).includes(`${tunnel} > ${to}`), 'chosen by the kernel');
    assert.ok((await asks('-I172.16.0.2')).includes(`${tunnel} > ${to}`), 'even when another was chosen');
  });

  await t.test(
    'a foreign host’s IPIP is dropped, that of a joining node is not; the chains stay',
    async () => {
      // The foreign host knows all addresses and pretends to be the pod of node 0.
      cluster.in('node2', 'ip link set tunl0 up');
      cluster.in('node2', `ip address add ${from}/32 dev tunl0`);
      cluster.in('node2', `ip route add ${to} via 172.16.0.3 dev tunl0 onlink`);
      cluster.in('pod1', 'nft add table ip seen');
      cluster.in('pod1', 'nft add chain ip seen in { type filter hook input priority 0 ; }');
      cluster.in('pod1', 'nft add rule ip seen in icmp type echo-request counter');
      const arrived = () => {
        cluster.ping('node2', to, '-W1');
        return Number(/packets (\d+)/.exec(cluster.in('pod1', 'nft list table ip seen'))?.[1]);
      };
      const chains = () =>
        cluster.in('node1', 'nft -a list table ip flatnet-tunnels').match(/(?:chain|comment) .*handle \d+/g);
      const before = chains();
      assert.ok(before && before.length > 3);
      assert.equal(arrived(), 0);
      await cluster.know('Always', [0, 1, 2]);
      assert.equal(arrived(), 1);
      await cluster.know('Always', [0, 1]);
      assert.equal(arrived(), 1);
      assert.deepEqual(chains(), before);
    },
  );

  await t.test('repairs any damage to the tunnel', async (t) => {
    for (const damage of DAMAGES) {
      cluster.in('node0', damage);
      t.diagnostic(`${damage}: ${Math.round(await cluster.settled())} ms`);
      assert.ok(cluster.ping('pod0', to), damage);
    }
  });

  await t.test(
    'CrossSubnet to a node of the same network: one header, and the frame is for that node',
    async () => {
      await cluster.know('CrossSubnet', [0, 1]);
      const mac = /link\/ether (\S+)/.exec(cluster.in('node1', 'ip link show eth0'))?.[1];
      const seen = await cluster.capture('node1', 'icmp', () => assert.ok(cluster.ping('pod0', to)));
      assert.match(seen, new RegExp(`> ${mac}, .* ${from} > ${to}: ICMP echo request`));
      assert.doesNotMatch(seen, /IPIP/);
    },
  );

  await t.test(
    'when no pool asks for IPIP, the device, which the kernel keeps, is down and no longer ours',
    async () => {
      await cluster.know('Never', [0, 1]);
      assert.ok(cluster.ping('pod0', to));
      assert.doesNotMatch(cluster.in('node0', 'ip link show tunl0'), /UP|alias/);
      assert.deepEqual(await cluster.leftToDo(), []);
    },
  );
});
