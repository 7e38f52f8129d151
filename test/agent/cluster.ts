import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { release } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { configuredBackend } from '../../src/backends/registry.ts';
import { type Network, readNetwork } from '../../src/cluster/network.ts';
import type { LocalPod, Node, PerFamily, Self } from '../../src/cluster/node.ts';
import { derivedMacs } from '../../src/cni/wiring/mac.ts';
import type { Facts } from '../../src/desired/desired.ts';
import { FAMILIES, type Family, type Ip } from '../../src/ip/address.ts';
import { addressOf, type Cidr, hostCidr, overlaps, parsePrefixed } from '../../src/ip/cidr.ts';
import { down } from '../../src/lab/down.ts';
import { agentReady, agentStatus, startAgent, stopAgent } from '../../src/lab/machine/agent.ts';
import { createNode, deleteNode } from '../../src/lab/machine/underlay.ts';
import { freeIndex, nodeAddresses, underlaySubnet } from '../../src/lab/machine/underlay-plan.ts';
import { createPod, deletePod } from '../../src/lab/pods/pod.ts';
import type { PodRecord } from '../../src/lab/pods/record.ts';
import type { Lab } from '../../src/lab/record/lab.ts';
import { netnsOf, podNetns } from '../../src/lab/record/names.ts';
import type { LabNode } from '../../src/lab/record/topology.ts';
import { up } from '../../src/lab/up.ts';
import { createNetns, deleteNetns, netnsPath } from '../../src/linux/netns.ts';
import { DEFAULT_PREFIX, Layout } from '../../src/store/etcd/layout.ts';
import type { Kv } from '../../src/store/kv/kv.ts';
import { tunnelMacsOf } from '../backends/tunnel-macs.ts';
import { composedState } from '../desired/composed.ts';
import { withKv } from '../store/lab.ts';
import type { Endpoint } from './matrix.ts';
import type { PodEnd } from './oracle.ts';
import { releaseLease } from './release-lease.ts';

export type TestPod = { readonly record: PodRecord; readonly hostDevice: string };

/** A node as the test knows it, independent of what its agent reports. */
export type TestNode = {
  readonly name: string;
  /** Determines its underlay addresses. */
  index: number;
  /** The index it was plugged in with. */
  port: number;
  mtu: number;
  /** MTU of the narrowest route to another node, if less than the interface's. */
  pathMtu?: number;
  /** Undefined until the node has joined. */
  subnets: readonly Cidr[] | undefined;
  /** The number of pods it should have once it is ready. */
  wantedPods: number;
  readonly pods: TestPod[];
};

/** What the companions of its nodes know; that of backend udp needs a kernel with TCX. */
const [MAJOR = 0, MINOR = 0] = release().split('.').map(Number);
const COMPANION = { fastPath: MAJOR > 6 || (MAJOR === 6 && MINOR >= 6) };

export const LAYOUT = new Layout(DEFAULT_PREFIX);

/** A test's own lab, and all facts about it from the test's point of view. */
export class Cluster implements AsyncDisposable {
  readonly lab: Lab;
  readonly network: Network;
  readonly families: readonly Family[];
  readonly nodes = new Map<string, TestNode>();
  /** Nodes that exist only as leases in the store, like flannel's, by lease key. */
  readonly foreign = new Map<string, Node>();
  /** A namespace used only to let nft list a ruleset. */
  readonly scratch: string;
  /** The store's current address, when it is not the usual one. */
  aside: Kv | undefined;
  #podCount = 0;

  private constructor(lab: Lab) {
    this.lab = lab;
    this.network = lab.network;
    this.families = FAMILIES.filter((family) => this.network.pools[family]);
    this.scratch = `${lab.name}.scratch`;
    process.once('SIGTERM', this.#stop);
  }

  /** Cleans up when the run is terminated. */
  readonly #stop = (): void => void this[Symbol.asyncDispose]().finally(() => process.exit(1));

  /** `conf`: as net-conf.json. Each node gets `pods` pods. */
  static async up(size: number, conf: object, pods = 1): Promise<Cluster> {
    const name = `m${process.pid}x${count++}`;
    const lab = await up({ name, nodes: size, subnets: 1, network: readNetwork(conf) });
    const cluster = new Cluster(lab);
    try {
      createNetns(cluster.scratch);
      for (const { name, index } of lab.nodes) {
        cluster.#prepare(name);
        cluster.nodes.set(name, {
          name,
          index,
          port: index,
          mtu: 1500,
          subnets: undefined,
          wantedPods: pods,
          pods: [],
        });
      }
      await cluster.complete();
      return cluster;
    } catch (error) {
      await cluster[Symbol.asyncDispose]();
      throw error;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    process.off('SIGTERM', this.#stop);
    deleteNetns(this.scratch);
    await down(this.lab.name);
  }

  /** Waits for every agent, reads the subnets of nodes that just joined, and creates the wanted pods. */
  async complete(): Promise<void> {
    for (const node of this.nodes.values()) {
      await agentReady(this.lab, node.name);
      const subnets = await this.#subnetsInStore(node.name);
      assert.deepEqual(subnets, node.subnets ?? subnets, `${node.name} has the subnets it had`);
      node.subnets = subnets;
      while (node.pods.length < node.wantedPods) await this.addPod(node);
    }
    const all = [...this.nodes.values()].flatMap(({ subnets }) => subnets ?? []);
    const others = [...this.foreign.values()].flatMap(({ subnets }) => subnets);
    for (const [i, subnet] of all.entries()) {
      const clash = [...all.slice(i + 1), ...others].find((other) => overlaps(subnet, other));
      assert.equal(clash, undefined, `${subnet} was assigned twice`);
    }
  }

  netns(node: TestNode): string {
    return netnsOf(this.lab.name, node.name);
  }

  /** Runs `ip …` in a node. */
  ip(node: TestNode, command: string): string {
    return this.run(node, 'ip', ...command.split(' '));
  }

  run(node: TestNode, ...command: string[]): string {
    const argv = ['netns', 'exec', this.netns(node), ...command];
    return execFileSync('ip', argv, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
  }

  /** The node as peers should see it. */
  published(node: TestNode): Node {
    return this.self(node).node;
  }

  self(node: TestNode): Self {
    const prefixes = nodeAddresses(node.index, 0);
    const all: PerFamily<Ip> = { 4: addressOf(prefixes[4]), 6: addressOf(prefixes[6]) };
    const used: PerFamily<Ip> = this.families.includes(6) ? all : { 4: addressOf(prefixes[4]) };
    const underlay = {
      dev: 'eth0',
      mtu: node.mtu,
      ...(node.pathMtu !== undefined && { pathMtu: node.pathMtu }),
      addresses: all,
      onLink: [underlaySubnet(0, 4), underlaySubnet(0, 6)],
    };
    const { backend, options } = configuredBackend(this.network);
    const tunnelMacs = this.#tunnelMacs(node);
    const plain: Node = {
      name: node.name,
      labels: { 'kubernetes.io/hostname': node.name },
      addresses: used,
      subnets: node.subnets ?? [],
      backend: { type: backend.type, data: {} },
    };
    const data = Object.fromEntries(
      this.families.map((family) => [
        family,
        backend.data({ node: plain, underlay, tunnelMacs, companion: COMPANION }, options, family),
      ]),
    );
    const published: unknown = JSON.parse(JSON.stringify(data));
    return {
      node: { ...plain, backend: { type: backend.type, data: published as PerFamily<unknown> } },
      underlay,
      tunnelMacs,
    };
  }

  /** As its agent chose them; before it has, any. */
  #tunnelMacs(node: TestNode): Self['tunnelMacs'] {
    const file = join(this.lab.paths.node(node.name).agent.state, 'tunnel-macs.json');
    return existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : tunnelMacsOf(node.name);
  }

  facts(node: TestNode): Facts {
    const peers = [...this.nodes.values()]
      .filter(({ subnets }) => subnets)
      .map((each) => this.published(each));
    const pods = node.pods.map(({ record, hostDevice }): LocalPod => {
      const { containerId, addresses } = record;
      const ips = addresses.map((ip) => parsePrefixed(hostCidr(ip)));
      const [mac] = derivedMacs({ bridge: 'cni0', hostDevice, addresses: ips });
      return { containerId, labels: {}, ifName: 'eth0', hostDevice, netns: '', addresses, mac };
    });
    return {
      network: this.network,
      self: this.self(node),
      peers: [...peers, ...this.foreign.values()],
      pods,
    };
  }

  desired(node: TestNode): ReturnType<typeof composedState> {
    return composedState(this.facts(node));
  }

  /** The pods' ends of their veths, as the oracle checks them. */
  podEnds(node: TestNode): PodEnd[] {
    const { mtu } = this.desired(node);
    return node.pods.map(({ record }) => ({ netns: this.podNetns(record), mtu }));
  }

  endpoints(): { pods: Endpoint[]; nodes: Endpoint[] } {
    const nodes = [...this.nodes.values()];
    return {
      nodes: nodes.map((node) => ({ name: node.name, netns: netnsPath(this.netns(node)), addresses: [] })),
      pods: nodes.flatMap(({ pods }) =>
        pods.map(({ record }) => ({
          name: `${record.node}/${record.name}`,
          netns: netnsPath(this.podNetns(record)),
          addresses: record.addresses,
        })),
      ),
    };
  }

  podNetns({ namespace, name }: PodRecord): string {
    return podNetns(this.lab.name, namespace, name);
  }

  async addPod(node: TestNode): Promise<TestPod> {
    const name = `p${this.#podCount++}`;
    const record = await createPod(this.lab, {
      namespace: 'default',
      name,
      node: node.name,
      labels: {},
      containers: [],
    });
    const pod = { record, hostDevice: this.#hostDevice(node, record) };
    node.pods.push(pod);
    node.wantedPods = Math.max(node.wantedPods, node.pods.length);
    return pod;
  }

  /** Creates a pod now, or as soon as the node can take one, as a kubelet's retries do. */
  async wantPod(node: TestNode): Promise<void> {
    node.wantedPods = Math.max(node.wantedPods, node.pods.length) + 1;
    if ((await agentStatus(this.lab, node.name))?.ready) await this.addPod(node);
  }

  async deletePod(node: TestNode, pod: TestPod): Promise<void> {
    await deletePod(this.lab, pod.record);
    node.pods.splice(node.pods.indexOf(pod), 1);
    node.wantedPods = node.pods.length;
  }

  /** Adds a machine; it has joined after `complete`. */
  async addNode(pods: number): Promise<TestNode> {
    const index = this.#freePort();
    const node: TestNode = {
      name: `node${100 + this.#podCount++}`,
      index,
      port: index,
      mtu: 1500,
      subnets: undefined,
      wantedPods: pods,
      pods: [],
    };
    this.nodes.set(node.name, node);
    await this.#boot(node);
    return node;
  }

  /** Removes a machine for good and releases its lease. */
  async removeNode(node: TestNode): Promise<void> {
    for (const pod of [...node.pods]) await this.deletePod(node, pod);
    await stopAgent(this.lab, node.name, 'stop');
    await releaseLease(this.lab, node.name);
    await this.#powerOff(node);
    this.nodes.delete(node.name);
  }

  /** Reboots the machine: it loses all running state and comes back at another address with the same disk. */
  async returnNode(node: TestNode, keepAddress: boolean): Promise<void> {
    await stopAgent(this.lab, node.name, 'kill');
    await this.loseMemory(node);
    // A node that had moved may find its first index taken; it then keeps the later one.
    if (!keepAddress || this.#others(node).some(({ index, port }) => [index, port].includes(node.index)))
      node.index = this.#freePort();
    node.port = node.index;
    await this.#boot(node);
  }

  /** Ends the node's lease, as if it had been away for a day: its subnet is free. */
  async endLease(node: TestNode): Promise<void> {
    await releaseLease(this.lab, node.name);
    node.subnets = undefined;
  }

  /** Leaves only the disk, like a power failure. */
  async loseMemory(node: TestNode): Promise<void> {
    for (const { record } of node.pods.splice(0)) {
      if (record.sandbox) process.kill(record.sandbox.pid, 'SIGKILL');
      deleteNetns(this.podNetns(record));
    }
    await this.#powerOff(node);
  }

  /**
   * Gives the node's interface the addresses of another index: beside the old ones first, or after a gap of
   * milliseconds.
   */
  async moveAddress(node: TestNode, gap?: number): Promise<void> {
    const before = Object.values(nodeAddresses(node.index, 0));
    node.index = freeIndex([...this.nodes.values()].map(({ index }) => index));
    const after = Object.values(nodeAddresses(node.index, 0));
    const add = (): void => after.forEach((each) => void this.ip(node, `addr add ${each} dev eth0 nodad`));
    if (gap === undefined) add();
    for (const each of before) this.ip(node, `addr del ${each} dev eth0`);
    if (gap !== undefined) {
      await sleep(gap);
      add();
    }
    this.#record();
    this.#announce();
  }

  setMtu(node: TestNode, mtu: number): void {
    this.ip(node, `link set eth0 mtu ${mtu}`);
    node.mtu = mtu;
  }

  /** Does what a gratuitous ARP does for an address that just belonged to another machine. */
  #announce(): void {
    for (const each of this.nodes.values()) this.ip(each, 'neigh flush dev eth0');
  }

  async store<T>(work: (kv: Kv) => Promise<T>): Promise<T> {
    return this.aside ? work(this.aside) : withKv(this.lab, work);
  }

  log(node: TestNode): string {
    return readFileSync(this.lab.paths.node(node.name).agentLog, 'utf8');
  }

  async #boot(node: TestNode): Promise<void> {
    this.#record();
    await createNode(this.lab.name, plug(node));
    this.#prepare(node.name);
    node.mtu = 1500;
    this.#announce();
    await startAgent(this.lab, node.name);
  }

  async #powerOff(node: TestNode): Promise<void> {
    await deleteNode(this.lab.name, plug(node));
  }

  #others(node: TestNode): TestNode[] {
    return [...this.nodes.values()].filter((each) => each !== node);
  }

  /** An index that no node uses, for its address or its switch port. */
  #freePort(): number {
    return freeIndex([...this.nodes.values()].flatMap(({ index, port }) => [index, port]));
  }

  /**
   * Sets what hosts with static addresses use: addresses survive the link going down (IPv6) or the removal of
   * the primary one (IPv4).
   */
  #prepare(name: string): void {
    const settings = ['net.ipv6.conf.eth0.keep_addr_on_down=1', 'net.ipv4.conf.eth0.promote_secondaries=1'];
    execFileSync('ip', ['netns', 'exec', netnsOf(this.lab.name, name), 'sysctl', '-qw', ...settings]);
  }

  #record(): void {
    this.lab.update({ nodes: [...this.nodes.values()].map(plug) });
  }

  /** Waits until a record that was just deleted has been rewritten. */
  async #subnetsInStore(name: string): Promise<readonly Cidr[]> {
    for (let look = 0; look < 100; look++) {
      const record = await this.store((kv) => kv.get(LAYOUT.node(name)));
      if (record) return (JSON.parse(record.value) as { subnets: Cidr[] }).subnets;
      await sleep(50);
    }
    return assert.fail(`${name} has no record in the store`);
  }

  #hostDevice(node: TestNode, record: PodRecord): string {
    const pod = execFileSync('ip', ['-n', this.podNetns(record), '-j', 'link', 'show', 'eth0'], {
      encoding: 'utf8',
    });
    const [{ link_index: index }] = JSON.parse(pod);
    const links: { ifindex: number; ifname: string }[] = JSON.parse(this.ip(node, '-j link show'));
    const device = links.find(({ ifindex }) => ifindex === index);
    assert.ok(device, 'the pod is attached to its node');
    return device.ifname;
  }
}

/** A node as connected to the lab's switch. */
export function plug({ name, port }: TestNode): LabNode {
  return { name, index: port, subnet: 0 };
}

let count = 0;
