import type { Underlay } from '../cluster/node.ts';
import { type Family, familyOf, type Ip } from '../ip/address.ts';
import { addressOf, type Cidr, cidrOf, hostCidr, lengthOf, parseCidr } from '../ip/cidr.ts';
import type { Mac } from '../ip/mac.ts';
import type { KernelState, LinkItem, RouteItem, VxlanLink } from '../state/item.ts';
import { MAIN_TABLE, metricOf, tableOf } from '../state/key.ts';

/** A node as its kernel state and its place on the underlay say it is. */
export type TracedNode = { readonly name: string; readonly state: KernelState; readonly underlay: Underlay };

export type TracedCluster = {
  readonly nodes: ReadonlyMap<string, TracedNode>;
  /** Whether a router joins the underlay's networks. */
  readonly routed: boolean;
};

/** How the packet left a node. `router`: on the underlay, by way of the router between its networks. */
export type Hop = {
  readonly node: string;
  readonly kind: 'local' | 'vxlan' | 'ipip' | 'direct';
  readonly dev: string;
  readonly via?: Ip;
  readonly throughRouter?: boolean;
};

export type Walk =
  | { readonly delivered: true; readonly hops: readonly Hop[] }
  | {
      readonly delivered: false;
      readonly hops: readonly Hop[];
      readonly at: string;
      readonly reason: string;
    };

const MAX_HOPS = 16;

/** Follows a packet for `to` that starts on a node, by what the nodes' kernels hold. Pure. */
export class Tracer {
  readonly #cluster: TracedCluster;
  readonly #fibs = new Map<string, Fib>();
  readonly #byAddress = new Map<Ip, TracedNode>();

  constructor(cluster: TracedCluster) {
    this.#cluster = cluster;
    for (const node of cluster.nodes.values()) {
      for (const ip of Object.values(node.underlay.addresses)) if (ip) this.#byAddress.set(ip, node);
    }
  }

  walk(from: string, to: Ip): Walk {
    const hops: Hop[] = [];
    let node = this.#cluster.nodes.get(from);
    if (!node) return { delivered: false, hops, at: from, reason: 'there is no such node' };
    while (hops.length < MAX_HOPS) {
      const step = this.#step(node, to);
      if ('reason' in step) return { delivered: false, hops, at: node.name, reason: step.reason };
      hops.push(step.hop);
      if (!step.next) return { delivered: true, hops };
      node = step.next;
    }
    return { delivered: false, hops, at: node.name, reason: 'the packet goes in circles' };
  }

  #step(node: TracedNode, to: Ip): Step {
    const entry = this.#fibOf(node).lookup(to);
    if (!entry) return { reason: `no route to ${to}` };
    if (entry.kind === 'local') return { hop: { node: node.name, kind: 'local', dev: entry.dev } };
    const { route } = entry;
    if (route.type === 'blackhole') return { reason: `blackhole ${route.dst}` };
    const dev = route.dev ?? node.underlay.dev;
    if (dev === node.underlay.dev) return this.#plain(node, route, to);
    const link = linkOf(node.state, dev);
    if (!link) return { reason: `${dev} is absent` };
    if (!link.up) return { reason: `${dev} is down` };
    const gateway = route.via ?? to;
    switch (link.link.type) {
      case 'existing': // A pod's own.
      case 'bridge':
        return { hop: { node: node.name, kind: 'local', dev } };
      case 'vxlan':
        return this.#vxlan(node, link, link.link, gateway);
      case 'ipip':
        return this.#ipip(node, link, gateway);
    }
  }

  #plain(node: TracedNode, route: RouteItem, to: Ip): Step {
    const via = route.via ?? to;
    if (!isOnLink(node, via)) return { reason: `gateway ${via} is not on ${node.underlay.dev}` };
    const next = this.#byAddress.get(via);
    if (!next || next === node) return { reason: `nobody has ${via}` };
    return { hop: { node: node.name, kind: 'direct', dev: node.underlay.dev, via }, next };
  }

  #vxlan(node: TracedNode, link: LinkItem, vxlan: VxlanLink, gateway: Ip): Step {
    const neighbour = node.state.get(`neighbour ${link.name} ${gateway}`);
    if (neighbour?.kind !== 'neighbour') return { reason: `no neighbour ${gateway} on ${link.name}` };
    const fdb = node.state.get(`fdb ${link.name} ${neighbour.mac}`);
    if (fdb?.kind !== 'fdb') return { reason: `no FDB entry ${neighbour.mac} on ${link.name}` };
    const next = this.#byAddress.get(fdb.dst);
    if (!next) return { reason: `nobody has ${fdb.dst}` };
    const throughRouter = !isOnLink(node, fdb.dst);
    if (throughRouter && !this.#cluster.routed) return { reason: `no way to ${fdb.dst}` };
    const refusal = vxlanRefusal(next, vxlan, fdb.dst, neighbour.mac);
    if (refusal !== undefined) return { reason: `${next.name} drops it: ${refusal}` };
    return { hop: { node: node.name, kind: 'vxlan', dev: link.name, via: fdb.dst, throughRouter }, next };
  }

  #ipip(node: TracedNode, link: LinkItem, gateway: Ip): Step {
    const next = this.#byAddress.get(gateway);
    if (!next) return { reason: `nobody has ${gateway}` };
    const throughRouter = !isOnLink(node, gateway);
    if (throughRouter && !this.#cluster.routed) return { reason: `no way to ${gateway}` };
    const refusal = ipipRefusal(next, node.underlay.addresses[4]);
    if (refusal !== undefined) return { reason: `${next.name} drops it: ${refusal}` };
    return { hop: { node: node.name, kind: 'ipip', dev: link.name, via: gateway, throughRouter }, next };
  }

  #fibOf(node: TracedNode): Fib {
    let fib = this.#fibs.get(node.name);
    if (!fib) {
      fib = new Fib(node);
      this.#fibs.set(node.name, fib);
    }
    return fib;
  }
}

type Step = { readonly hop: Hop; readonly next?: TracedNode } | { readonly reason: string };

/** Why a node does not take a VXLAN packet, or undefined. */
function vxlanRefusal(node: TracedNode, sent: VxlanLink, dst: Ip, mac: Mac): string | undefined {
  for (const item of node.state.values()) {
    if (item.kind !== 'link' || item.link.type !== 'vxlan') continue;
    const { vni, port, local } = item.link;
    if (vni !== sent.vni || port !== sent.port || familyOf(local) !== familyOf(dst)) continue;
    if (!item.up) return `${item.name} is down`;
    if (local !== dst) return `${item.name} is bound to ${local}`;
    if (item.link.gbp !== sent.gbp) return 'group policy extension on one side only';
    return item.mac === mac ? undefined : `the frame is for ${mac}, ${item.name} is ${item.mac}`;
  }
  return `no vxlan device with VNI ${sent.vni} on port ${sent.port}`;
}

/** Why a node does not take an IPIP packet, or undefined. */
function ipipRefusal({ state }: TracedNode, from: Ip | undefined): string | undefined {
  const device = [...state.values()].find((item) => item.kind === 'link' && item.link.type === 'ipip');
  if (device?.kind !== 'link') return 'no ipip device';
  if (!device.up) return `${device.name} is down`;
  const table = state.get('nft ip flatnet');
  const nodes = table?.kind === 'nft' ? table.sets?.nodes : undefined;
  if (nodes && (from === undefined || !nodes.includes(from))) return `${from} is no node`;
  return undefined;
}

type Entry =
  | { readonly kind: 'local'; readonly dev: string }
  | { readonly kind: 'route'; readonly route: RouteItem };

/** A node's forwarding table: the longest prefix wins, and of equals the lowest metric. */
class Fib {
  readonly #byLength: Record<Family, Map<number, Map<Cidr, { entry: Entry; metric: number }>>> = {
    4: new Map(),
    6: new Map(),
  };

  constructor({ state, underlay }: TracedNode) {
    for (const network of underlay.onLink) this.#add(network, onLinkRoute(network, underlay.dev), 0);
    for (const ip of Object.values(underlay.addresses)) {
      if (ip) this.#add(hostCidr(ip), { kind: 'local', dev: underlay.dev }, -1);
    }
    for (const item of state.values()) {
      if (item.kind === 'address') {
        const link = linkOf(state, item.dev);
        if (link && !link.up) continue;
        const local: Entry = { kind: 'local', dev: item.dev };
        this.#add(hostCidr(addressOf(item.address)), local, -1);
        // What is on a bridge's own network is a pod of this node.
        this.#add(parseCidr(item.address), local, 0);
      } else if (item.kind === 'route' && tableOf(item) === MAIN_TABLE) {
        this.#add(item.dst, { kind: 'route', route: item }, metricOf(item));
      }
    }
  }

  lookup(ip: Ip): Entry | undefined {
    const lengths = [...this.#byLength[familyOf(ip)].keys()].sort((a, b) => b - a);
    for (const length of lengths) {
      const found = this.#byLength[familyOf(ip)].get(length)?.get(cidrOf(ip, length));
      if (found) return found.entry;
    }
    return undefined;
  }

  #add(dst: Cidr, entry: Entry, metric: number): void {
    const lengths = this.#byLength[familyOf(dst)];
    let nets = lengths.get(lengthOf(dst));
    if (!nets) {
      nets = new Map();
      lengths.set(lengthOf(dst), nets);
    }
    const present = nets.get(dst);
    if (!present || metric < present.metric) nets.set(dst, { entry, metric });
  }
}

function onLinkRoute(dst: Cidr, dev: string): Entry {
  return { kind: 'route', route: { kind: 'route', dst, type: 'unicast', dev, protocol: 2 } };
}

function linkOf(state: KernelState, name: string): LinkItem | undefined {
  const item = state.get(`link ${name}`);
  return item?.kind === 'link' ? item : undefined;
}

function isOnLink(node: TracedNode, ip: Ip): boolean {
  return node.underlay.onLink.some((network) => cidrOf(ip, lengthOf(network)) === network);
}
