import { isDeepStrictEqual } from 'node:util';
import { unlawfulSubnet } from '../../cluster/lawful.ts';
import type { Network } from '../../cluster/network.ts';
import type { Node } from '../../cluster/node.ts';
import type { Resources } from '../../cluster/resources.ts';
import type { KeyRange, KeyValue, WatchBatch } from '../kv/kv.ts';
import type { ClusterView, LastView } from '../ports/feed.ts';
import type { CheckNetwork } from '../ports/network.ts';
import { AffinityTable } from './affinity-table.ts';
import { type Fact, type Lease, readFact, type Warn } from './facts.ts';
import { placeOf, ResourceIndex } from './indexes.ts';
import { lastGood } from './last-good.ts';
import type { Layout } from './layout.ts';
import { LeaseTable } from './lease-table.ts';

/**
 * The cluster as described by the store's keys, updated incrementally. A change only costs work for the nodes
 * it affects; all others stay the same objects in the next view.
 *
 * Under the `lease` plan, a node consists of the leases that `LeaseTable` attributes to it and its record.
 * Under the `blocks` plan there are no leases: a node consists of its record and its confirmed blocks.
 */
export class ClusterState {
  readonly leases: LeaseTable;
  readonly #layout: Layout;
  readonly #warn: Warn;
  readonly #check: CheckNetwork;
  /** Every key below the prefix as stored, and the readable ones, decoded. */
  readonly #items = new Map<string, KeyValue>();
  readonly #facts = new Map<string, Fact>();
  readonly #affinities = new AffinityTable();
  readonly #resources = new ResourceIndex();
  /** Keys whose last good value is in use. */
  readonly #kept = new Set<string>();
  /** Why a key, or part of its value, is not used. */
  readonly #unreadable = new Map<string, readonly string[]>();
  /** The last valid one. */
  #network: Network | undefined;
  #networkTime: Date | undefined;
  #nodes: Node[] = [];
  /** Nodes from before, which may be gone by now. */
  readonly #remembered = new Map<string, Node>();
  #revision = 0;
  #view: ClusterView | undefined;

  constructor(layout: Layout, warn: Warn, check: CheckNetwork = () => {}) {
    this.#layout = layout;
    this.#check = check;
    this.#warn = warn;
    this.leases = new LeaseTable(layout);
  }

  get revision(): number {
    return this.#revision;
  }

  get resources(): Resources {
    return this.#resources.current;
  }

  item(key: string): KeyValue | undefined {
    return this.#items.get(key);
  }

  /** The readable keys, decoded. */
  facts(): IterableIterator<Fact> {
    return this.#facts.values();
  }

  /** Why a key, or part of its value, is not used. */
  get unreadable(): ReadonlyMap<string, readonly string[]> {
    return this.#unreadable;
  }

  /** The keys of claims to subnets that do not count, and why. */
  get refusals(): readonly (readonly [key: string, reason: string])[] {
    const table = this.#network?.addresses === 'blocks' ? this.#affinities : this.leases;
    return table.refusals();
  }

  /** Whether the key could be read, at least in part. */
  isRead(key: string): boolean {
    return this.#facts.has(key) && !this.#kept.has(key);
  }

  /** Whether the last good value of an unreadable key is still in use. */
  isInForce(key: string): boolean {
    return this.#resources.has(key) || this.#kept.has(key);
  }

  /** When the network in force was read; undefined before, and for one that was assumed. */
  get networkTime(): Date | undefined {
    return this.#networkTime;
  }

  /**
   * Puts a network in force until the store has a valid one. What is computed for `nodes` is still right for
   * those that turn out to be the same: they stay the same objects.
   */
  assume({ network, nodes }: LastView): void {
    for (const node of nodes) this.#remembered.set(node.name, node);
    if (!this.#network) this.#rebuild(new Set([...this.#setNetwork(network), ...this.leases.settle()]));
  }

  /** Replaces everything below the prefix, or in the range, by a listing. */
  reset(items: readonly KeyValue[], revision: number, range?: KeyRange): void {
    const listed = new Set(items.map(({ key }) => key));
    const changed = items.filter((kv) => !sameValue(this.#items.get(kv.key), kv));
    const gone = [...this.#items.keys()].filter((key) => !listed.has(key) && (!range || isIn(range, key)));
    this.#update(changed, gone, revision);
  }

  /** Applies a batch from a watch. */
  apply({ events, revision }: WatchBatch): void {
    // Of several events for one key, the last one counts.
    const last = new Map<string, KeyValue | undefined>();
    for (const event of events) {
      if (event.type === 'put') last.set(event.item.key, event.item);
      else last.set(event.key, undefined);
    }
    const puts = [...last.values()].filter((item) => item !== undefined);
    const gone = [...last.keys()].filter((key) => last.get(key) === undefined);
    this.#update(puts, gone, revision);
  }

  /** The same object until a node, a resource or the network changes. Undefined while there is no network. */
  view(): ClusterView | undefined {
    if (!this.#view && this.#network) {
      this.#view = {
        network: this.#network,
        resources: this.#resources.current,
        nodes: this.#nodes,
      };
    }
    return this.#view;
  }

  #update(puts: readonly KeyValue[], gone: readonly string[], revision: number): void {
    this.#revision = revision;
    const dirty = new Set<string>();
    for (const key of gone) {
      this.#unreadable.delete(key);
      this.#items.delete(key);
      this.#resources.delete(key);
      this.#forget(key, dirty);
    }
    for (const kv of puts) {
      if (this.#layout.isAllocation(kv.key)) continue;
      this.#items.set(kv.key, kv);
      const problems: string[] = [];
      const read = readFact(this.#layout, kv, (_, problem) => problems.push(problem), this.#check);
      const kept = lastGood(read, this.#facts.get(kv.key), kv);
      if (kept && problems.length === 0) problems.push('names no node');
      for (const problem of problems) this.#warn(kv.key, problem);
      if (problems.length > 0) this.#unreadable.set(kv.key, problems);
      else this.#unreadable.delete(kv.key);
      this.#forget(kv.key, dirty);
      if (kept) this.#kept.add(kv.key);
      const fact = kept ?? read;
      if (fact) this.#learn(fact, dirty);
    }
    this.#rebuild(new Set([...dirty, ...this.leases.settle(), ...this.#affinities.settle()]));
    if (this.#resources.settle()) this.#view = undefined;
  }

  /** `dirty` collects nodes that may have changed; those of leases and records come from the lease table. */
  #learn(fact: Fact, dirty: Set<string>): void {
    const key = fact.kv.key;
    this.#facts.set(key, fact);
    if (fact.kind === 'network') {
      this.#networkTime = new Date();
      for (const name of this.#setNetwork(fact.network)) dirty.add(name);
    } else if (fact.kind === 'lease') {
      this.leases.addLease(fact);
    } else if (fact.kind === 'record') {
      this.leases.addRecord(fact);
      this.#affinities.addMember(fact.record.name);
    } else if (fact.kind === 'resource') {
      this.#resources.set(key, fact.resource);
    } else if (fact.kind === 'affinity') {
      this.#affinities.add(fact);
      dirty.add(fact.node);
    }
  }

  /** The network and resources keep their last valid value when their key becomes unreadable. */
  #forget(key: string, dirty: Set<string>): void {
    const fact = this.#facts.get(key);
    if (!fact) return;
    this.#facts.delete(key);
    this.#kept.delete(key);
    if (fact.kind === 'lease') {
      this.leases.deleteLease(fact);
    } else if (fact.kind === 'record') {
      this.leases.deleteRecord(fact);
      this.#affinities.deleteMember(fact.record.name);
    } else if (fact.kind === 'affinity') {
      this.#affinities.delete(fact);
      dirty.add(fact.node);
    }
  }

  /** Returns the nodes that may have changed. */
  #setNetwork(network: Network): ReadonlySet<string> {
    if (isDeepStrictEqual(this.#network, network)) return new Set();
    // Also for the first network: records from the other key range may have arrived before it.
    const isOtherPlan = this.#network?.addresses !== network.addresses;
    this.#network = network;
    this.#view = undefined;
    this.leases.law = (cidr) => unlawfulSubnet(network, cidr);
    return new Set(isOtherPlan ? this.leases.names() : []);
  }

  #rebuild(names: ReadonlySet<string>): void {
    let nodes: Node[] | undefined;
    for (const name of names) {
      const node = this.#recognized(this.#build(name));
      const { index, found } = placeOf(nodes ?? this.#nodes, name);
      if (isDeepStrictEqual(found, node)) continue;
      // Views already returned keep their list.
      nodes ??= [...this.#nodes];
      nodes.splice(index, found ? 1 : 0, ...(node ? [node] : []));
    }
    if (!nodes) return;
    this.#nodes = nodes;
    this.#view = undefined;
  }

  #recognized(node: Node | undefined): Node | undefined {
    const known = node && this.#remembered.get(node.name);
    if (!known || !isDeepStrictEqual(known, node)) return node;
    this.#remembered.delete(known.name);
    return known;
  }

  #build(name: string): Node | undefined {
    const { addresses = 'lease' } = this.#network ?? {};
    return addresses === 'lease' ? this.#buildFromLeases(name) : this.#buildFromRecord(name);
  }

  /** With its blocks; with DHCP there are none. */
  #buildFromRecord(name: string): Node | undefined {
    const record = this.leases.record(name)?.record;
    if (!record) return undefined;
    const { labels, addresses, senders, backend = { type: '', data: {} } } = record;
    const subnets = this.#affinities.blocksOf(name);
    return { name, labels, addresses, ...(senders && { senders }), subnets, backend };
  }

  #buildFromLeases(name: string): Node | undefined {
    const record = this.leases.record(name)?.record;
    const all = this.leases.leasesOf(name);
    const counting = all.filter(({ kv }) => this.leases.subnetsOf(kv.key).length > 0);
    // A node that has joined may have lost its subnet; a key that claims one in vain is no node.
    const leases = counting.length > 0 || !record ? counting : all;
    const named = record && this.#layout.lease(record.subnets);
    // The lease named by the record comes first, then the newest. The first one's addresses and backend
    // count.
    const rank = ({ kv }: Lease): number => (kv.key === named ? Number.POSITIVE_INFINITY : kv.modRevision);
    leases.sort((a, b) => rank(b) - rank(a));
    const value = leases[0]?.inForce;
    if (!value) return undefined;
    const subnets = [...new Set(leases.flatMap(({ kv }) => this.leases.subnetsOf(kv.key)))];
    return {
      name,
      labels: record?.labels ?? {},
      addresses: value.addresses,
      ...(record?.senders && { senders: record.senders }),
      subnets,
      backend: value.backend,
    };
  }
}

function isIn({ from, to }: KeyRange, key: string): boolean {
  return key >= from && key < to;
}

function sameValue(known: KeyValue | undefined, kv: KeyValue): boolean {
  return known !== undefined && known.value === kv.value && known.modRevision === kv.modRevision;
}
