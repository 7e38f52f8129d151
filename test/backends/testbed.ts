import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { NO_HOST } from '../../src/cluster/host.ts';
import type { LocalPod, Self } from '../../src/cluster/node.ts';
import { chooseParent } from '../../src/cluster/parent.ts';
import { BITS, type Family, familyOf, type Ip } from '../../src/ip/address.ts';
import { type Cidr, lengthOf, nthIp } from '../../src/ip/cidr.ts';
import { type Mac, parseMac } from '../../src/ip/mac.ts';
import { GATEWAY, HOST_MAC } from '../../src/wiring/pod-device.ts';
import { nodeMac } from '../../src/wiring/shim.ts';
import { composedState } from '../desired/composed.ts';
import { Running } from '../state/namespace.ts';
import { factsOf, networkOf, type Plan, podAddressesOf, podsOf, selfOf } from './cluster.ts';

/** Milliseconds. An emulated machine is slow, especially when it loads modules. */
const LIMIT = process.env.FLATNET_EMULATED ? 120_000 : 10_000;
/** Seconds. */
const ANSWERED_WITHIN = process.env.FLATNET_EMULATED ? '2' : '0.5';

let count = 0;

/**
 * The nodes of a plan in namespaces of the real kernel, each with one pod in another, and a router between
 * their networks. A reconciler makes each node's kernel hold what the pure functions say; there are no
 * agents.
 */
export class Testbed implements Disposable {
  readonly plan: Plan;
  readonly #prefix = `fn-bed-${process.pid}-${count++}`;
  readonly #running: Running[] = [];
  readonly #nodes: readonly Bed[];

  constructor(plan: Plan) {
    this.plan = plan;
    this.#nodes = Array.from({ length: plan.size }, (_, i) => bedOf(plan, i));
    try {
      this.#addNetns('wire');
      this.batch('wire', ...this.#router());
      this.run('wire', 'sysctl', '-qw', 'net.ipv4.ip_forward=1', 'net.ipv6.conf.all.forwarding=1');
      for (const bed of this.#nodes) this.#add(bed);
    } catch (error) {
      this[Symbol.dispose]();
      throw error;
    }
  }

  /** Programs the nodes, by default all; returns the milliseconds until their kernels hold the result. */
  async up(nodes = this.#nodes.map(({ i }) => i)): Promise<number> {
    for (const i of nodes) {
      const running = new Running({ path: `/run/netns/${this.#name(`node${i}`)}` });
      this.#running.push(running);
      running.want(this.itemsOf(i));
    }
    return this.settled();
  }

  itemsOf(i: number) {
    const { pod } = this.#bed(i);
    return composedState({ ...factsOf(this.plan, i), pods: [pod] }).items;
  }

  /** Removes everything of ours. */
  async down(): Promise<void> {
    for (const running of this.#running) running.want([]);
    await this.settled();
  }

  async settled(): Promise<number> {
    const took = await Promise.all(this.#running.map((each) => each.settled(LIMIT)));
    await Promise.all(this.#running.map((each) => each.reconciler.run()));
    return Math.max(...took);
  }

  /** What each node's reconciler finds to do: nothing, once the kernel equals what the pure functions say. */
  async leftToDo(): Promise<readonly unknown[]> {
    const reports = await Promise.all(this.#running.map((each) => each.reconciler.run()));
    return reports.flatMap(({ done, undone }) => [...done, ...undone]);
  }

  /**
   * Whether a pod's ping to another is answered; `size` in bytes is that of the whole packet, unfragmented.
   */
  ping(from: number, to: number, family: Family, size?: number): boolean {
    return this.#ping(`pod${from}`, to, family, ANSWERED_WITHIN, size) === undefined;
  }

  /** Whether a node's ping to its own pod is answered. */
  nodePings(i: number, family: Family): boolean {
    return this.#ping(`node${i}`, i, family, ANSWERED_WITHIN) === undefined;
  }

  /** Whether the pod is told that a packet of that size is too big. */
  isTooBig(from: number, to: number, family: Family, size: number): boolean {
    return /too long|too big|frag needed/i.test(this.#ping(`pod${from}`, to, family, '0.1', size) ?? '');
  }

  /** Undefined if it is answered, otherwise what `ping` says. */
  #ping(from: string, to: number, family: Family, wait: string, size?: number): string | undefined {
    const header = family === 4 ? 28 : 48;
    const options = size === undefined ? [] : ['-Mdo', `-s${size - header}`];
    try {
      this.run(from, 'ping', '-c1', `-W${wait}`, '-n', ...options, this.addressOf(to, family));
      return undefined;
    } catch (error) {
      const { stdout, stderr } = error as { stdout?: string; stderr?: string };
      return `${stdout}${stderr}`;
    }
  }

  addressOf(i: number, family: Family): Ip {
    const address = this.#bed(i).pod.addresses.find((ip) => familyOf(ip) === family);
    assert.ok(address);
    return address;
  }

  /** Bytes of a pod's largest packet. */
  get mtu(): number {
    return composedState(factsOf(this.plan, 0)).mtu;
  }

  /** The sources of the pings that a pod has received. */
  sourcesSeen(i: number, family: Family): ReadonlySet<string> {
    const text = this.run(`pod${i}`, 'nft', '-j', 'list', 'set', 'inet', 'seen', `v${family}`);
    const { nftables } = JSON.parse(text) as { nftables: { set?: { elem?: string[] } }[] };
    return new Set(nftables.flatMap(({ set }) => set?.elem ?? []));
  }

  /** Runs a program in a namespace: `node0`, `pod0`, `wire`. */
  run(where: string, ...command: readonly string[]): string {
    const [program = '', ...args] = command;
    return execFileSync('ip', ['netns', 'exec', this.#name(where), program, ...args], {
      encoding: 'utf8',
      stdio: 'pipe',
    });
  }

  batch(where: string, ...commands: readonly string[]): void {
    const input = commands.join('\n');
    execFileSync('ip', ['-n', this.#name(where), '-batch', '-'], { input, stdio: 'pipe' });
  }

  [Symbol.dispose](): void {
    for (const each of this.#running) each[Symbol.dispose]();
    const names = execFileSync('ip', ['netns', 'list'], { encoding: 'utf8' }).match(/^\S+/gm) ?? [];
    for (const name of names) {
      if (name.startsWith(`${this.#prefix}-`)) execFileSync('ip', ['netns', 'del', name]);
    }
  }

  #name(what: string): string {
    return `${this.#prefix}-${what}`;
  }

  #bed(i: number): Bed {
    const bed = this.#nodes[i];
    assert.ok(bed);
    return bed;
  }

  #addNetns(what: string): void {
    execFileSync('ip', ['netns', 'add', this.#name(what)]);
    // What a node forwards needs its link-local address at once.
    this.run(what, 'sysctl', '-qw', 'net.ipv6.conf.default.accept_dad=0');
  }

  /** A bridge for each network, with the router's addresses. */
  #router(): string[] {
    const networks = Array.from({ length: this.plan.networks }, (_, k) => k);
    return networks.flatMap((k) => [
      `link add br${k} type bridge mcast_snooping 0`,
      ...routerOf(this.plan, k).map(([, address]) => `address add ${address} dev br${k} nodad`),
      `link set br${k} up`,
    ]);
  }

  #add(bed: Bed): void {
    const { i, self, pod } = bed;
    const [node, inside] = [`node${i}`, `pod${i}`];
    for (const what of [node, inside]) this.#addNetns(what);
    const network = i % this.plan.networks;
    this.batch(
      'wire',
      `link add port${i} type veth peer name eth0 netns ${this.#name(node)}`,
      `link set port${i} master br${network} up`,
    );
    const { addresses } = self.underlay;
    this.batch(
      node,
      'link set lo up',
      'link set eth0 up',
      ...Object.values(addresses).map(
        (ip) => `address add ${ip}/${familyOf(ip) === 4 ? 16 : 64} dev eth0 nodad`,
      ),
      ...routerOf(this.plan, network).map(
        ([family, address]) => `route add ${ANYWHERE[family]} via ${address.split('/')[0]}`,
      ),
      podLink(bed, `name pod address ${pod.mac} mtu ${this.mtu} netns ${this.#name(inside)}`),
    );
    this.batch(
      inside,
      'link set lo up',
      'link set pod name eth0 up',
      ...pod.addresses.flatMap((ip) => podRoutes(bed, ip)),
    );
    this.run(inside, 'nft', SEEN);
  }
}

/** What CNI makes. */
function podLink({ pod: { wiring, hostDevice } }: Bed, podEnd: string): string {
  if (wiring === 'macvlan') return `link add link eth0 ${podEnd} type macvlan mode bridge`;
  const mac = wiring === 'routed' ? `address ${HOST_MAC}` : '';
  return `link add ${hostDevice} ${mac} type veth peer ${podEnd}`;
}

/** A pod's address, and its ways to others. */
function podRoutes({ self: { node, underlay }, pod, networks, nodeMac }: Bed, ip: Ip): string[] {
  const family = familyOf(ip);
  const of = (cidrs: readonly Cidr[]): Cidr =>
    cidrs.find((each) => familyOf(each) === family) ?? assert.fail();
  switch (pod.wiring) {
    case 'macvlan':
      return [
        `address add ${ip}/${lengthOf(of(networks))} dev eth0 nodad`,
        `neigh add ${underlay.addresses[family]} lladdr ${nodeMac} nud permanent dev eth0`,
      ];
    case 'routed':
      return [
        `address add ${ip}/${BITS[family]} dev eth0 nodad`,
        `neigh add ${GATEWAY[family]} lladdr ${HOST_MAC} nud permanent dev eth0`,
        ...(family === 4 ? [`route add ${GATEWAY[4]} dev eth0`] : []),
        `route add ${ANYWHERE[family]} via ${GATEWAY[family]} dev eth0`,
      ];
    default: {
      const subnet = of(node.subnets);
      return [
        `address add ${ip}/${lengthOf(subnet)} dev eth0 nodad`,
        `route add ${ANYWHERE[family]} via ${nthIp(subnet, 1)} dev eth0`,
      ];
    }
  }
}

const ANYWHERE: Record<Family, string> = { 4: '0.0.0.0/0', 6: '::/0' };

/** Remembers where pings come from. */
const SEEN = `table inet seen {
  set v4 { type ipv4_addr; flags dynamic; size 64; }
  set v6 { type ipv6_addr; flags dynamic; size 64; }
  chain in {
    type filter hook input priority 0;
    icmp type echo-request add @v4 { ip saddr }
    icmpv6 type echo-request add @v6 { ip6 saddr }
  }
}`;

/** A node and its pod. */
type Bed = {
  readonly i: number;
  readonly self: Self;
  readonly pod: LocalPod;
  /** The pods' own. */
  readonly networks: readonly Cidr[];
  /** Where a pod on the node's own network finds the node. */
  readonly nodeMac?: Mac | undefined;
};

function bedOf(plan: Plan, i: number): Bed {
  const self = selfOf(plan, i);
  const { pools, physical } = networkOf(plan);
  const parent = physical && chooseParent(physical, self.underlay, self.host ?? NO_HOST);
  const { subnets } = self.node;
  const [computed] = podsOf(plan, i);
  const bridged: LocalPod = {
    containerId: 'c',
    labels: {},
    ifName: 'eth0',
    hostDevice: 'veth0',
    netns: '',
    addresses: podAddressesOf(plan, i),
    subnets,
    bridge: 'cni0',
  };
  const mac = parseMac(`0a:00:00:00:00:0${i}`);
  const networks = Object.values(pools).map(({ cidr }) => cidr);
  return {
    i,
    self,
    pod: { ...(computed ?? bridged), mac },
    networks,
    nodeMac: parent && nodeMac(physical, parent),
  };
}

/** The router's addresses in a network, with prefix lengths. */
function routerOf({ families }: Plan, network: number): (readonly [Family, string])[] {
  return families.map((family) => [
    family,
    family === 4 ? `172.${16 + network}.255.254/16` : `fd00:${network}::ffff/64`,
  ]);
}
