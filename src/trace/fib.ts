import type { Underlay } from '../cluster/node.ts';
import { type Family, familyOf, type Ip } from '../ip/address.ts';
import { type Cidr, cidrOf, hostCidr, lengthOf } from '../ip/cidr.ts';
import type { Encapsulation } from '../linux/encapsulation.ts';
import { type Encapsulated, type FibEntry, Forwarding, type Port } from '../state/forwarding.ts';
import { type KernelState, kindOf } from '../state/item.ts';
import { type CreatedLink, findLinkType } from '../state/link-types/registry.ts';

/** A node, given by its kernel state and its place on the underlay; or a pod on the nodes' own network. */
export type TracedNode = {
  readonly name: string;
  readonly state: KernelState;
  readonly underlay: Underlay;
  /** The node whose interface a pod shares: by that interface, neither reaches the other. */
  readonly shares?: string;
};

export type TracedCluster = {
  readonly nodes: ReadonlyMap<string, TracedNode>;
  /** Whether a router connects the underlay's networks. */
  readonly routed: boolean;
};

/** How the packet left a node: through a tunnel of some type, or unencapsulated. */
export type Hop = {
  readonly node: string;
  readonly kind: 'local' | 'direct' | CreatedLink['type'];
  readonly dev: string;
  readonly via?: Ip;
  /** Via the router between the underlay's networks. */
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

/** Follows a packet from a node to an address through the nodes' kernel state. Pure. */
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
    if (!node) return { delivered: false, hops, at: from, reason: 'no such node' };
    while (hops.length < MAX_HOPS) {
      const step = this.#step(node, to);
      if ('reason' in step) return { delivered: false, hops, at: node.name, reason: step.reason };
      hops.push(step.hop);
      if (!step.next) return { delivered: true, hops };
      node = step.next;
    }
    return { delivered: false, hops, at: node.name, reason: 'forwarding loop' };
  }

  #step(node: TracedNode, to: Ip): Step {
    const entry = this.#fibOf(node).lookup(to);
    if (!entry) return { reason: `no route to ${to}` };
    if (entry.to === 'nowhere') return { reason: `blackhole ${entry.dst}` };
    if (entry.to === 'here') return { hop: { node: node.name, kind: 'local', dev: entry.dev } };
    const gateway = entry.via ?? to;
    const dev = entry.dev ?? node.underlay.dev;
    return dev === node.underlay.dev
      ? this.#plain(node, gateway)
      : this.#device(node, dev, gateway, entry.encapsulation);
  }

  #plain(node: TracedNode, via: Ip): Step {
    if (!isOnLink(node, via)) return { reason: `gateway ${via} is not on ${node.underlay.dev}` };
    const next = this.#byAddress.get(via);
    if (!next || next === node) return { reason: `no node has ${via}` };
    if (next.shares === node.name || node.shares === next.name) {
      return { reason: `${node.underlay.dev} carries nothing between its node and what shares it` };
    }
    return { hop: { node: node.name, kind: 'direct', dev: node.underlay.dev, via }, next };
  }

  #device(node: TracedNode, dev: string, gateway: Ip, encapsulation?: Encapsulation): Step {
    const { tables } = this.#fibOf(node);
    const port = tables.ports.get(dev);
    if (!port) return { reason: `${dev} is absent` };
    if (!port.up) return { reason: `${dev} is down` };
    const local: Step = { hop: { node: node.name, kind: 'local', dev } };
    // A device that flatnet did not create belongs to a pod.
    if (!isCreated(port)) return local;
    const type = findLinkType(port.link.type);
    const departure = type?.depart(port, gateway, tables, encapsulation) ?? { lost: 'no path' };
    if ('lost' in departure) return { reason: departure.lost };
    return 'delivered' in departure ? local : this.#tunnel(node, dev, departure);
  }

  #tunnel(node: TracedNode, dev: string, packet: Encapsulated<CreatedLink>): Step {
    const { dst, by } = packet;
    const next = this.#byAddress.get(dst);
    if (!next) return { reason: `no node has ${dst}` };
    const throughRouter = !isOnLink(node, dst);
    if (throughRouter && !this.#cluster.routed) return { reason: `${dst} is unreachable` };
    const { tables } = this.#fibOf(next);
    const ports = [...tables.ports.values()].filter(isCreated).filter(({ link }) => link.type === by.type);
    const src = node.underlay.addresses[familyOf(dst)];
    const refusal = findLinkType(by.type)?.arrive(packet, src, ports, tables);
    if (refusal !== undefined) return { reason: `${next.name} drops it: ${refusal}` };
    return { hop: { node: node.name, kind: by.type, dev, via: dst, throughRouter }, next };
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

/** A node's forwarding tables, built from its underlay and its items. */
class Fib {
  readonly tables = new Forwarding();
  readonly #byLength: Record<Family, Map<number, Map<Cidr, FibEntry>>> = { 4: new Map(), 6: new Map() };

  constructor({ state, underlay: { dev, onLink, addresses } }: TracedNode) {
    const { tables } = this;
    for (const dst of onLink) tables.fib.push({ dst, metric: 0, to: 'device', dev });
    for (const ip of Object.values(addresses)) {
      if (ip) tables.fib.push({ dst: hostCidr(ip), metric: -1, to: 'here', dev });
    }
    for (const item of state.values()) kindOf(item).forward?.(item, tables, state);
    for (const entry of tables.fib) this.#add(entry);
  }

  lookup(ip: Ip): FibEntry | undefined {
    const lengths = this.#byLength[familyOf(ip)];
    for (const length of [...lengths.keys()].sort((a, b) => b - a)) {
      const found = lengths.get(length)?.get(cidrOf(ip, length));
      if (found) return found;
    }
    return undefined;
  }

  #add(entry: FibEntry): void {
    const lengths = this.#byLength[familyOf(entry.dst)];
    let nets = lengths.get(lengthOf(entry.dst));
    if (!nets) {
      nets = new Map();
      lengths.set(lengthOf(entry.dst), nets);
    }
    const present = nets.get(entry.dst);
    if (!present || entry.metric < present.metric) nets.set(entry.dst, entry);
  }
}

function isCreated(port: Port<{ readonly type: string }>): port is Port<CreatedLink> {
  return findLinkType(port.link.type) !== undefined;
}

function isOnLink(node: TracedNode, ip: Ip): boolean {
  return node.underlay.onLink.some((network) => cidrOf(ip, lengthOf(network)) === network);
}
