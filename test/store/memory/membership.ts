import { randomUUID } from 'node:crypto';
import { aborted, pause } from '../../../src/async/pause.ts';
import type { Network } from '../../../src/cluster/network.ts';
import type { Node, NodeFacts, PerFamily } from '../../../src/cluster/node.ts';
import { FlatnetError } from '../../../src/error.ts';
import { FAMILIES } from '../../../src/ip/address.ts';
import { type Cidr, overlaps } from '../../../src/ip/cidr.ts';
import { chooseSubnet, compatible } from '../../../src/ipam/subnets.ts';
import type { Stored } from '../../../src/store/ports/blocks.ts';
import type { Claim, Member, Membership, Placement } from '../../../src/store/ports/membership.ts';
import type { NetworkStore } from '../../../src/store/ports/network.ts';
import type { MemoryResources } from './resources.ts';
import type { Memory, NodeObject } from './store.ts';

/** Each node is an object, and so is each subnet: the node that creates a subnet object holds the subnet. */
export class MemoryMembership implements Membership {
  readonly #memory: Memory;
  readonly #network: NetworkStore;
  readonly #resources: MemoryResources;
  readonly #closed: AbortSignal;

  constructor(memory: Memory, network: NetworkStore, resources: MemoryResources, closed: AbortSignal) {
    this.#memory = memory;
    this.#network = network;
    this.#resources = resources;
    this.#closed = closed;
  }

  async join(self: NodeFacts, previous: PerFamily<Cidr>): Promise<Claim> {
    if (!/^[a-z0-9.-]+$/.test(self.name)) {
      throw new FlatnetError('is not a DNS name', { code: 'NAME_INVALID', object: self.name });
    }
    const network = await this.#network.read();
    const { nodes } = this.#memory;
    const before = await nodes.get(self.name);
    if (before && !sharesAddress(self, before.value.facts) && (await this.isAlive(self.name, 600))) {
      throw new FlatnetError('a node of this name is alive', { code: 'NAME_TAKEN', object: self.name });
    }
    if (network.addresses === 'blocks') await this.#resources.makeDefaultPools(network);
    const subnets = await this.#take(network, self, [
      ...(before?.value.subnets ?? []),
      ...Object.values(previous),
    ]);
    const next: NodeObject = { facts: self, subnets, instance: randomUUID() };
    const written = await (before ? nodes.replace(self.name, before, next) : nodes.create(self.name, next));
    if (!written) return this.join(self, previous);
    await this.#free(self.name, subnets);
    return new MemoryClaim(this.#memory, next, this.#closed, () => this.forget(self.name));
  }

  async members(): Promise<readonly Member[]> {
    const all = (await this.#memory.nodes.list()).map(([, { value }]) => value);
    return all
      .filter(({ subnets }) => subnets.length > 0)
      .map(({ facts: { name, addresses, backend }, subnets }) => {
        const publicIp = addresses[4] ?? addresses[6];
        return { node: name, subnets, backend: backend.type, ...(publicIp && { publicIp }) };
      })
      .sort((a, b) => a.node.localeCompare(b.node, 'en', { numeric: true }));
  }

  async names(): Promise<ReadonlySet<string>> {
    return new Set((await this.#memory.nodes.list()).map(([name]) => name));
  }

  async isAlive(node: string, patience = 600): Promise<boolean> {
    const { nodes, challenges } = this.#memory;
    if (!(await nodes.get(node))) return false;
    const challenge = await challenges.create(node, randomUUID());
    if (!challenge) return this.isAlive(node, patience);
    for (const end = performance.now() + patience; performance.now() < end; ) {
      await pause(10);
      if (!(await challenges.get(node))) return true;
    }
    return !(await challenges.delete(node, challenge));
  }

  async forget(node: string): Promise<boolean> {
    const found = await this.#memory.nodes.get(node);
    if (!found) return false;
    if (!(await this.#memory.nodes.delete(node, found))) return this.forget(node);
    await this.#free(node, []);
    return true;
  }

  async place(nodes: readonly Node[], dryRun = false): Promise<readonly Placement[]> {
    const placements: Placement[] = [];
    for (const { subnets, ...facts } of nodes) {
      const { name: node } = facts;
      const found = await this.#memory.nodes.get(node);
      const all = await this.#memory.subnets.list();
      const taken = all.find(([cidr]) => subnets.some((subnet) => overlaps(subnet, cidr as Cidr)));
      if (found && `${found.value.subnets}` === `${subnets}`) placements.push({ node, outcome: 'present' });
      else if (found ?? taken) placements.push({ node, outcome: 'refused', reason: 'is taken' });
      else {
        placements.push({ node, outcome: 'placed' });
        if (dryRun) continue;
        for (const subnet of subnets) await this.#memory.subnets.create(subnet, node);
        await this.#memory.nodes.create(node, { facts, subnets, instance: '' });
      }
    }
    return placements;
  }

  async #take(network: Network, { name, addresses }: NodeFacts, asked: readonly Cidr[]): Promise<Cidr[]> {
    const families = FAMILIES.filter((family) => network.pools[family] && addresses[family] !== undefined);
    if (families.length === 0)
      throw new FlatnetError('has no address', { code: 'CONFIG_INVALID', object: name });
    if (network.addresses === 'blocks') return [];
    const { subnets } = this.#memory;
    const taken: Cidr[] = [];
    for (const family of families) {
      const pool = network.pools[family];
      if (!pool) continue;
      const all = await subnets.list();
      const others = all.filter(([, { value }]) => value !== name).map(([subnet]) => subnet as Cidr);
      const isFree = (subnet: Cidr): boolean => !others.some((other) => overlaps(other, subnet));
      const kept = asked.find((subnet) => compatible(pool, subnet) && isFree(subnet));
      const subnet = kept ?? chooseSubnet(pool, others, Math.random);
      if (!subnet) throw new FlatnetError('is exhausted', { code: 'OUT_OF_SUBNETS', object: pool.cidr });
      await subnets.create(subnet, name);
      // Announce first, then check: a node that sees a rival gives up, so at most one of two overlapping
      // stays.
      const rivals = (await subnets.list()).filter(([other]) => overlaps(other as Cidr, subnet));
      if (rivals.some(([, { value }]) => value !== name)) {
        await this.#free(name, asked);
        await pause(Math.random() * 20);
        return this.#take(network, { name, addresses, labels: {}, backend: { type: '', data: {} } }, asked);
      }
      taken.push(subnet);
    }
    return taken;
  }

  async #free(node: string, but: readonly Cidr[]): Promise<void> {
    const { subnets } = this.#memory;
    for (const [subnet, stored] of await subnets.list()) {
      if (stored.value === node && !but.includes(subnet as Cidr)) await subnets.delete(subnet, stored);
    }
  }
}

class MemoryClaim implements Claim {
  readonly subnets: readonly Cidr[];
  readonly renewal = { at: new Date() };
  readonly lost: Promise<never>;
  readonly #memory: Memory;
  readonly #stopped = new AbortController();
  readonly #fail: (error: unknown) => void;
  readonly #forget: () => Promise<boolean>;
  #node: NodeObject;

  constructor(memory: Memory, node: NodeObject, closed: AbortSignal, forget: () => Promise<boolean>) {
    this.subnets = node.subnets;
    this.#memory = memory;
    this.#node = node;
    this.#forget = forget;
    const { promise, reject } = Promise.withResolvers<never>();
    promise.catch(() => {});
    this.lost = promise;
    this.#fail = reject;
    void aborted(closed).then(() => this.stop());
    memory.follow(() => void this.#look(), this.#stopped.signal);
  }

  async publish(facts: NodeFacts): Promise<void> {
    this.#node = { ...this.#node, facts };
    const found = await this.#memory.nodes.get(facts.name);
    if (found && !(await this.#memory.nodes.replace(facts.name, found, this.#node)))
      await this.publish(facts);
  }

  stop(): void {
    this.#stopped.abort();
  }

  async release(): Promise<void> {
    this.stop();
    await this.#forget();
  }

  /** Answers challenges, and checks whether the node is still its own. */
  async #look(): Promise<void> {
    const { name } = this.#node.facts;
    const { challenges, nodes } = this.#memory;
    const challenge: Stored<string> | undefined = await challenges.get(name);
    if (this.#stopped.signal.aborted) return;
    const found = await nodes.get(name);
    if (found && found.value.instance !== this.#node.instance) {
      this.stop();
      this.#fail(new FlatnetError('another agent has this name', { code: 'LEASE_LOST', object: name }));
    } else if (challenge) await challenges.delete(name, challenge);
    else if (!found) await nodes.create(name, this.#node);
  }
}

function sharesAddress({ addresses }: NodeFacts, other: NodeFacts): boolean {
  return FAMILIES.some((family) => addresses[family] && addresses[family] === other.addresses[family]);
}
