import assert from 'node:assert/strict';
import { execFile, execFileSync } from 'node:child_process';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { askAgent } from '../../../src/agent/ask.ts';
import { type Kind, readDocument } from '../../../src/cluster/calico/document.ts';
import { readNetwork } from '../../../src/cluster/network.ts';
import type { IpPool } from '../../../src/cluster/resources.ts';
import { BirdControl } from '../../../src/companions/bird/daemon/control.ts';
import { BirdFiles } from '../../../src/companions/bird/daemon/files.ts';
import { runningBird } from '../../../src/companions/bird/daemon/process.ts';
import type { BgpStatus } from '../../../src/companions/bird/status/status.ts';
import { messageOf } from '../../../src/error.ts';
import { FAMILIES, familyOf } from '../../../src/ip/address.ts';
import { checkIpam, type Report } from '../../../src/ipam/blocks/check.ts';
import { down } from '../../../src/lab/down.ts';
import { agentReady, startAgent, stopAgent } from '../../../src/lab/machine/agent.ts';
import { withStore } from '../../../src/lab/machine/store.ts';
import { createPod, deletePod } from '../../../src/lab/pods/pod.ts';
import type { PodRecord } from '../../../src/lab/pods/record.ts';
import type { Lab } from '../../../src/lab/record/lab.ts';
import { netnsOf, podNetns } from '../../../src/lab/record/names.ts';
import { up } from '../../../src/lab/up.ts';
import { netnsPath } from '../../../src/linux/netns.ts';
import { killNow } from '../../../src/linux/process.ts';
import type { BlockStore } from '../../../src/store/ports/blocks.ts';
import { unreached } from '../../agent/matrix.ts';
import { RunningPing } from '../../agent/running-ping.ts';

/** Routed pods, addresses from blocks, BIRD without tunnels: works on every kernel. */
export const BLOCKS_BGP = {
  Network: '10.244.0.0/16',
  addresses: 'blocks',
  wiring: 'routed',
  Backend: { Type: 'bgp', ipipMode: 'Never' },
};

const run = promisify(execFile);
let count = 0;

/** A Calico-style lab, and the pods a test created in it. */
export class BgpCluster implements AsyncDisposable {
  readonly lab: Lab;
  readonly pods: PodRecord[] = [];
  #podCount = 0;

  private constructor(lab: Lab) {
    this.lab = lab;
    process.once('SIGTERM', this.#stop);
  }

  /** Cleans up when the run is terminated. */
  readonly #stop = (): void => void this[Symbol.asyncDispose]().finally(() => process.exit(1));

  static async up(nodes: number, conf: unknown = BLOCKS_BGP, subnets = 1): Promise<BgpCluster> {
    const name = `b${process.pid}x${count++}`;
    return new BgpCluster(await up({ name, nodes, subnets, network: readNetwork(conf) }));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    process.off('SIGTERM', this.#stop);
    await down(this.lab.name);
  }

  get nodes(): readonly string[] {
    return this.lab.nodes.map(({ name }) => name);
  }

  netns(node: string): string {
    return netnsOf(this.lab.name, node);
  }

  /** Runs a command in a node. */
  run(node: string, ...command: string[]): string {
    return execFileSync('ip', ['netns', 'exec', this.netns(node), ...command], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
    });
  }

  async addPod(node: string): Promise<PodRecord> {
    const name = `p${this.#podCount++}`;
    const pod = await createPod(this.lab, { namespace: 'default', name, node, labels: {}, containers: [] });
    this.pods.push(pod);
    return pod;
  }

  async deletePod(pod: PodRecord): Promise<void> {
    await deletePod(this.lab, pod);
    this.pods.splice(this.pods.indexOf(pod), 1);
  }

  ping(t: TestContext, from: PodRecord, to: PodRecord): RunningPing[] {
    const netns = podNetns(this.lab.name, from.namespace, from.name);
    return to.addresses.map((address) => new RunningPing(t, netns, address));
  }

  /** Writes resources as `flatnet apply` does. */
  async apply(...resources: object[]): Promise<void> {
    await withStore(this.lab, async ({ resources: store }) => {
      for (const each of resources) {
        await store.apply(readDocument({ apiVersion: 'projectcalico.org/v3', ...each }));
      }
    });
  }

  /** Deletes a resource as `flatnet delete` does. */
  async delete(kind: Kind, name: string): Promise<void> {
    await withStore(this.lab, ({ resources: store }) => store.delete(kind, name));
  }

  async kill(nodes: readonly string[], ...what: ('agent' | 'bird')[]): Promise<void> {
    await Promise.all(
      nodes.map(async (node) => {
        if (what.includes('agent')) await stopAgent(this.lab, node, 'kill');
        if (!what.includes('bird')) return;
        const bird = this.bird(node);
        assert.ok(bird, `BIRD runs on ${node}`);
        await killNow([bird]);
      }),
    );
  }

  async start(nodes: readonly string[]): Promise<void> {
    await Promise.all(nodes.map((node) => startAgent(this.lab, node)));
    await Promise.all(nodes.map((node) => agentReady(this.lab, node)));
  }

  bird(node: string): ReturnType<typeof runningBird> {
    return runningBird(this.birdFiles(node));
  }

  birdFiles(node: string): BirdFiles {
    return new BirdFiles(join(this.lab.paths.node(node).agent.run, 'bird'));
  }

  bgpStatus(node: string): Promise<BgpStatus> {
    return askAgent(this.lab.paths.node(node).agentSocket, { op: 'bgp-status' });
  }

  /**
   * Waits until every node has exactly `count` sessions, all established, with at least `routes` routes from
   * each, and has recovered from its restart.
   */
  async established(count: (node: string) => number, routes = 1, limit = 60_000): Promise<void> {
    await until(limit, async () => {
      const wrong: string[] = [];
      for (const node of this.nodes) {
        try {
          const { sessions, daemon } = await this.bgpStatus(node);
          if (daemon.recovering || (await this.#keepsStale(node)))
            wrong.push(`${node} or a peer is recovering`);
          const up = sessions.filter(({ info, imported }) => info === 'Established' && imported >= routes);
          if (up.length === sessions.length && up.length === count(node)) continue;
          wrong.push(`${node}: ${sessions.map(({ name, info, imported }) => `${name} ${info} ${imported}`)}`);
        } catch (error) {
          wrong.push(`${node}: ${messageOf(error)}`);
        }
      }
      return wrong;
    });
  }

  /**
   * Whether BIRD still keeps stale routes of a restarted peer, which it would drop if that peer restarted
   * again.
   */
  async #keepsStale(node: string): Promise<boolean> {
    const { control } = await BirdControl.open(this.birdFiles(node).socket);
    const { lines } = await control.request('show protocols all');
    control[Symbol.dispose]();
    return lines.some(({ text }) => /graceful restart active/i.test(text));
  }

  /** Waits until every pod and node reaches every pod, without address translation. */
  async reachable(patience = 5000): Promise<void> {
    const pods = this.pods.map(({ namespace, name, addresses }) => ({
      name,
      netns: netnsPath(podNetns(this.lab.name, namespace, name)),
      addresses,
    }));
    const nodes = this.nodes.map((name) => ({ name, netns: netnsPath(this.netns(name)), addresses: [] }));
    const families = FAMILIES.filter((family) =>
      pods.some(({ addresses }) => addresses.some((ip) => familyOf(ip) === family)),
    );
    for (const family of families) {
      assert.deepEqual(await unreached(family, [...pods, ...nodes], pods, patience), []);
    }
  }

  /** A kernel's network state, as the usual programs list it. */
  async kernel(node: string): Promise<string> {
    const settings = `for dev in all eth0 $(ls /sys/class/net | grep ^cali); do
      grep -H . /proc/sys/net/ipv4/conf/$dev/{forwarding,rp_filter,proxy_arp} /proc/sys/net/ipv6/conf/$dev/{forwarding,proxy_ndp}
    done`;
    const look = `ip route; ip -6 route show proto 110; ip -6 route show proto 111; ip rule
      ip -o link | sed 's/^[0-9]*: //'; nft -s list ruleset; ${settings}`;
    return (await run('ip', ['netns', 'exec', this.netns(node), 'bash', '-c', look])).stdout;
  }

  async kernels(): Promise<string> {
    const texts = await Promise.all(
      this.nodes.map(async (node) =>
        (await this.kernel(node))
          .split('\n')
          .map((line) => `${node}: ${line.trim()}`)
          .join('\n'),
      ),
    );
    return texts.join('\n');
  }

  /** The result of the IPAM check, with the number of assigned addresses. */
  async ipam(): Promise<Report> {
    const known = { pools: await this.pools(), nodes: new Set(this.nodes) };
    return withStore(this.lab, ({ blocks }) => checkIpam(blocks, known));
  }

  async pools(): Promise<IpPool[]> {
    const warn = (text: string): never => assert.fail(text);
    const found = await withStore(this.lab, ({ resources }) => resources.list('IPPool', warn));
    return found.flatMap(({ resource }) => (resource.kind === 'IPPool' ? [resource.value] : []));
  }

  blocks<T>(work: (blocks: BlockStore) => Promise<T>): Promise<T> {
    return withStore(this.lab, ({ blocks }) => work(blocks));
  }
}

/**
 * Returns the milliseconds from `begin` until `left` returns nothing; throws after `limit` with what is left.
 */
export async function until(
  limit: number,
  left: () => readonly string[] | Promise<readonly string[]>,
  begin = performance.now(),
): Promise<number> {
  for (;;) {
    const looked = performance.now();
    const texts = await left();
    if (texts.length === 0) return looked - begin;
    if (performance.now() - begin > limit) assert.fail(`after ${limit} ms: ${texts.join('\n')}`);
    await sleep(20);
  }
}
