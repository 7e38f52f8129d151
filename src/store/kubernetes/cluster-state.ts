import { isDeepStrictEqual } from 'node:util';
import { type Claim, Claims } from '../../cluster/claims.ts';
import { unlawfulSubnet } from '../../cluster/lawful.ts';
import type { Network } from '../../cluster/network.ts';
import type { Node } from '../../cluster/node.ts';
import { NO_RESOURCES, type Resources } from '../../cluster/resources.ts';
import type { Cidr } from '../../ip/cidr.ts';
import type { ClusterView } from '../ports/feed.ts';
import { BlockTable } from './block-table.ts';
import { reachable } from './node/annotations.ts';
import type { NodeReading } from './node/read.ts';

/**
 * The cluster as described by Node objects, updated incrementally: a change only costs work for the nodes it
 * affects; all others stay the same objects in the next view.
 *
 * A node's subnets are its spec.podCIDRs, as far as the network allows them and no older Node has them; under
 * the `blocks` plan, its confirmed blocks.
 */
export class ClusterState {
  readonly #readings = new Map<string, NodeReading>();
  /** The last readings without problems, of the same objects. */
  readonly #good = new Map<string, NodeReading>();
  readonly #claims = new Claims();
  readonly #claimed = new Map<string, readonly Claim[]>();
  readonly blocks = new BlockTable();
  readonly #dirty = new Set<string>();
  readonly #nodes = new Map<string, Node>();
  #network: Network | undefined;
  #resources: Resources = NO_RESOURCES;
  #view: ClusterView | undefined;

  get size(): number {
    return this.#readings.size;
  }

  get network(): Network | undefined {
    return this.#network;
  }

  set network(network: Network | undefined) {
    if (isDeepStrictEqual(network, this.#network)) return;
    if (this.#network?.addresses !== network?.addresses)
      for (const name of this.#readings.keys()) this.#dirty.add(name);
    this.#network = network;
    this.#view = undefined;
    if (network) this.#claims.law = (cidr) => unlawfulSubnet(network, cidr);
  }

  get resources(): Resources {
    return this.#resources;
  }

  set resources(resources: Resources) {
    if (resources !== this.#resources) this.#view = undefined;
    this.#resources = resources;
  }

  reading(name: string): NodeReading | undefined {
    return this.#readings.get(name);
  }

  readings(): Iterable<NodeReading> {
    return this.#readings.values();
  }

  /** Why a node cannot have some of its subnets; undefined if it can have all. */
  refusal(name: string): string | undefined {
    this.#settle();
    const claims = this.#claimed.get(name) ?? [];
    return claims.map((claim) => this.#claims.refusal(claim)).find((reason) => reason !== undefined);
  }

  /** The names of nodes with refused subnets, and why. */
  get refusals(): readonly (readonly [name: string, reason: string])[] {
    this.#settle();
    if (this.#network?.addresses === 'blocks') return this.blocks.refusals;
    return [...this.#claims.refusals].map(([{ owner }, reason]) => [owner, reason]);
  }

  /** Whether what was last good of an unreadable node is in force. */
  isKept(name: string): boolean {
    const reading = this.#readings.get(name);
    return reading !== undefined && this.#inForce(reading) !== reading;
  }

  set(reading: NodeReading): void {
    const { name, created, subnets } = reading;
    const before = this.#readings.get(name);
    this.#readings.set(name, reading);
    if (reading.problems.length === 0) this.#good.set(name, reading);
    this.#dirty.add(name);
    this.blocks.setMember(name, this.#inForce(reading).published !== undefined);
    if (before?.created === created && isDeepStrictEqual(before.subnets, subnets)) return;
    this.#unclaim(name);
    const claims = subnets.map((cidr): Claim => ({ key: name, owner: name, cidr, age: created }));
    for (const claim of claims) this.#claims.add(claim);
    this.#claimed.set(name, claims);
  }

  delete(name: string): void {
    this.#readings.delete(name);
    this.#good.delete(name);
    this.#dirty.add(name);
    this.blocks.setMember(name, false);
    this.#unclaim(name);
  }

  /** Replaces all nodes. */
  reset(readings: ReadonlyMap<string, NodeReading>): void {
    for (const name of [...this.#readings.keys()]) if (!readings.has(name)) this.delete(name);
    for (const reading of readings.values()) this.set(reading);
  }

  /** The same object until a node or the network changes. Undefined while there is no network. */
  view(): ClusterView | undefined {
    this.#settle();
    const network = this.#network;
    if (!network) return undefined;
    this.#view ??= {
      network,
      resources: this.#resources,
      nodes: [...this.#nodes.values()].sort((a, b) => (a.name < b.name ? -1 : 1)),
    };
    return this.#view;
  }

  #settle(): void {
    for (const name of [...this.#dirty, ...this.#claims.settle(), ...this.blocks.settle()]) {
      const [before, node] = [this.#nodes.get(name), this.#build(name)];
      if (isDeepStrictEqual(before, node)) continue;
      if (node) this.#nodes.set(name, node);
      else this.#nodes.delete(name);
      this.#view = undefined;
    }
    this.#dirty.clear();
  }

  #build(name: string): Node | undefined {
    const reading = this.#readings.get(name);
    const published = reading && this.#inForce(reading).published;
    if (!reading || !published || Object.keys(published.addresses).length === 0) return undefined;
    const { addresses, senders, backend } = published;
    return {
      name,
      labels: { ...reading.labels, ...published.labels },
      addresses,
      ...(senders && { senders }),
      subnets: this.#subnetsOf(name, addresses),
      backend,
    };
  }

  #subnetsOf(name: string, addresses: Node['addresses']): readonly Cidr[] {
    switch (this.#network?.addresses) {
      case 'blocks':
        return this.blocks.blocksOf(name);
      case 'dhcp':
        return [];
      default:
        return this.#subnets(name, addresses);
    }
  }

  #subnets(name: string, addresses: Node['addresses']): readonly Cidr[] {
    const counting = (this.#claimed.get(name) ?? []).filter((claim) => !this.#claims.refusal(claim));
    return reachable(
      counting.map(({ cidr }) => cidr),
      addresses,
    );
  }

  #inForce(reading: NodeReading): NodeReading {
    const good = this.#good.get(reading.name);
    return good?.uid === reading.uid ? good : reading;
  }

  #unclaim(name: string): void {
    for (const claim of this.#claimed.get(name) ?? []) this.#claims.delete(claim);
    this.#claimed.delete(name);
  }
}
