import { isDeepStrictEqual } from 'node:util';
import type { Network } from '../cluster/network.ts';
import type { Node } from '../cluster/node.ts';
import type { Resources } from '../cluster/resources.ts';
import { type Ip, ipCompare } from '../ip/address.ts';
import { addressOf, type Cidr } from '../ip/cidr.ts';
import type { AffinityState } from '../ipam/blocks/keys.ts';
import { type Fact, type Lease, type Recorded, readFact, type Warn } from './facts.ts';
import type { KeyRange, KeyValue, WatchBatch } from './kv.ts';
import type { Layout } from './layout.ts';
import { Multimap } from './multimap.ts';
import { ResourceIndex } from './resource-index.ts';
import type { ClusterView } from './store.ts';

/**
 * The cluster as the store's keys tell it, kept up to date change by change: a change costs the work of the nodes it
 * touches, and the others stay the same objects in the next view.
 *
 * Whose a lease is: of the node whose record names its subnets; else of the recorded node with its public address (a
 * reservation, or what flannel left on that machine); else it is a plain flannel node, named by its public address.
 * Where addresses are `blocks` there are no leases: a node is its record, with the blocks whose affinity it confirmed.
 */
export class ClusterState {
  readonly #layout: Layout;
  readonly #warn: Warn;
  /** Every key below the prefix as it is, and those that can be read, decoded. */
  readonly #items = new Map<string, KeyValue>();
  readonly #facts = new Map<string, Fact>();
  readonly #records = new Map<string, Recorded>();
  readonly #leasesByAddress = new Multimap<Ip, string>();
  readonly #namesByAddress = new Multimap<Ip, string>();
  readonly #namesByLease = new Multimap<string, string>();
  /** Which node each lease is counted to, and the leases of each node. */
  readonly #owners = new Map<string, string>();
  readonly #owned = new Multimap<string, string>();
  readonly #blocks = new Multimap<string, Cidr>();
  readonly #resources = new ResourceIndex();
  /** The last good one. */
  #network: Network | undefined;
  #nodes: Node[] = [];
  #revision = 0;
  #view: ClusterView | undefined;

  constructor(layout: Layout, warn: Warn) {
    this.#layout = layout;
    this.#warn = warn;
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

  /** What can be read. */
  facts(): IterableIterator<Fact> {
    return this.#facts.values();
  }

  record(name: string): Recorded | undefined {
    return this.#records.get(name);
  }

  lease(key: string): Lease | undefined {
    const fact = this.#facts.get(key);
    return fact?.kind === 'lease' ? fact : undefined;
  }

  /** The lease that a node's record names. */
  leaseOf(name: string): Lease | undefined {
    const record = this.#records.get(name)?.record;
    return record && this.lease(this.#layout.lease(record.subnets));
  }

  /** The node that a lease is counted to. */
  ownerOf(leaseKey: string): string | undefined {
    return this.#owners.get(leaseKey);
  }

  /** Leases that have the public address. */
  leasesAt(ip: Ip): Lease[] {
    return [...this.#leasesByAddress.get(ip)].flatMap((key) => this.lease(key) ?? []);
  }

  /** Everything below the prefix, or of that part of it, as a list gave it. */
  reset(items: readonly KeyValue[], revision: number, range?: KeyRange): void {
    const listed = new Set(items.map(({ key }) => key));
    const changed = items.filter((kv) => !sameValue(this.#items.get(kv.key), kv));
    const gone = [...this.#items.keys()].filter((key) => !listed.has(key) && (!range || isIn(range, key)));
    this.#update(changed, gone, revision);
  }

  /** What a watch brought. */
  apply({ events, revision }: WatchBatch): void {
    // Of several events for one key the last one counts.
    const last = new Map<string, KeyValue | undefined>();
    for (const event of events) {
      if (event.type === 'put') last.set(event.item.key, event.item);
      else last.set(event.key, undefined);
    }
    const puts = [...last.values()].filter((item) => item !== undefined);
    const gone = [...last.keys()].filter((key) => last.get(key) === undefined);
    this.#update(puts, gone, revision);
  }

  /** The same object until a node, a resource or the network changes. Undefined as long as there is no network. */
  view(): ClusterView | undefined {
    if (!this.#view && this.#network) {
      this.#view = {
        network: this.#network,
        resources: this.#resources.current,
        nodes: this.#nodes,
        revision: this.#revision,
      };
    }
    return this.#view;
  }

  #update(puts: readonly KeyValue[], gone: readonly string[], revision: number): void {
    this.#revision = revision;
    const dirty: Dirty = { leases: new Set(), names: new Set() };
    for (const key of gone) {
      this.#items.delete(key);
      this.#resources.delete(key);
      this.#forget(key, dirty);
    }
    for (const kv of puts) {
      if (this.#layout.isAllocation(kv.key)) continue;
      this.#items.set(kv.key, kv);
      const fact = readFact(this.#layout, kv, this.#warn);
      this.#forget(kv.key, dirty);
      if (fact) this.#learn(fact, dirty);
    }
    this.#assign(dirty);
    this.#rebuild(dirty.names);
    if (this.#resources.settle()) this.#view = undefined;
  }

  #learn(fact: Fact, dirty: Dirty): void {
    const key = fact.kv.key;
    this.#facts.set(key, fact);
    if (fact.kind === 'network') {
      this.#setNetwork(fact.network, dirty);
    } else if (fact.kind === 'lease') {
      for (const ip of addressesOf(fact)) this.#leasesByAddress.add(ip, key);
      dirty.leases.add(key);
    } else if (fact.kind === 'record') {
      this.#records.set(fact.record.name, fact);
      this.#index(fact, (map, at, name) => map.add(at, name), dirty);
    } else if (fact.kind === 'resource') {
      this.#resources.set(key, fact.resource);
    } else if (fact.kind === 'affinity' && fact.kv.value === CONFIRMED) {
      this.#blocks.add(fact.node, fact.block);
      dirty.names.add(fact.node);
    }
  }

  /** Network and resources stay what they were when their key can't be read any more. */
  #forget(key: string, dirty: Dirty): void {
    const fact = this.#facts.get(key);
    if (!fact) return;
    this.#facts.delete(key);
    if (fact.kind === 'lease') {
      for (const ip of addressesOf(fact)) this.#leasesByAddress.delete(ip, key);
      dirty.leases.add(key);
    } else if (fact.kind === 'record') {
      this.#records.delete(fact.record.name);
      this.#index(fact, (map, at, name) => map.delete(at, name), dirty);
    } else if (fact.kind === 'affinity') {
      this.#blocks.delete(fact.node, fact.block);
      dirty.names.add(fact.node);
    }
  }

  #setNetwork(network: Network, dirty: Dirty): void {
    if (isDeepStrictEqual(this.#network, network)) return;
    // Also the first one: records may have come before it, in another part of the keys.
    if (this.#network?.addresses !== network.addresses) {
      for (const name of [...this.#records.keys(), ...this.#owners.values()]) dirty.names.add(name);
    }
    this.#network = network;
    this.#view = undefined;
  }

  #index(
    { record }: Recorded,
    change: (map: Multimap<string, string>, at: string, name: string) => void,
    dirty: Dirty,
  ): void {
    const lease = this.#layout.lease(record.subnets);
    change(this.#namesByLease, lease, record.name);
    dirty.names.add(record.name);
    dirty.leases.add(lease);
    for (const ip of Object.values(record.addresses)) {
      change(this.#namesByAddress, ip, record.name);
      for (const key of this.#leasesByAddress.get(ip)) dirty.leases.add(key);
    }
  }

  /** Gives each lease to its node. */
  #assign({ leases, names }: Dirty): void {
    for (const key of leases) {
      const before = this.#owners.get(key);
      const lease = this.lease(key);
      const owner = lease && this.#findOwner(lease);
      if (before !== undefined) {
        names.add(before);
        this.#owned.delete(before, key);
        this.#owners.delete(key);
      }
      if (owner !== undefined) {
        names.add(owner);
        this.#owned.add(owner, key);
        this.#owners.set(key, owner);
      }
    }
  }

  #findOwner(lease: Lease): string | undefined {
    const addresses = addressesOf(lease);
    const [address] = addresses;
    // Without an address it is a subnet that nobody uses: a reservation.
    if (address === undefined) return undefined;
    const named = this.#newest(this.#namesByLease.get(lease.kv.key));
    return named ?? this.#newest(addresses.flatMap((ip) => [...this.#namesByAddress.get(ip)])) ?? address;
  }

  #newest(names: Iterable<string>): string | undefined {
    const written = (name: string): number => this.#records.get(name)?.kv.modRevision ?? 0;
    return [...names].sort((a, b) => written(b) - written(a))[0];
  }

  #rebuild(names: ReadonlySet<string>): void {
    let nodes: Node[] | undefined;
    for (const name of names) {
      const node = this.#build(name);
      const { index, found } = search(nodes ?? this.#nodes, name);
      if (isDeepStrictEqual(found, node)) continue;
      // Views given out keep their list.
      nodes ??= [...this.#nodes];
      nodes.splice(index, found ? 1 : 0, ...(node ? [node] : []));
    }
    if (!nodes) return;
    this.#nodes = nodes;
    this.#view = undefined;
  }

  #build(name: string): Node | undefined {
    return this.#network?.addresses === 'blocks' ? this.#onBlocks(name) : this.#onLeases(name);
  }

  #onBlocks(name: string): Node | undefined {
    const record = this.#records.get(name)?.record;
    if (!record) return undefined;
    const subnets = [...this.#blocks.get(name)].sort((a, b) => ipCompare(addressOf(a), addressOf(b)));
    const { labels, addresses, backend = { type: '', data: {} } } = record;
    return { name, labels, addresses, subnets, backend };
  }

  #onLeases(name: string): Node | undefined {
    const leases = [...this.#owned.get(name)].flatMap((key) => this.lease(key) ?? []);
    const record = this.#records.get(name)?.record;
    const named = record && this.#layout.lease(record.subnets);
    // What the record names comes first, then the newest: its addresses and backend are the node's.
    const rank = ({ kv }: Lease): number => (kv.key === named ? Number.POSITIVE_INFINITY : kv.modRevision);
    leases.sort((a, b) => rank(b) - rank(a));
    const value = leases[0]?.value;
    if (!value) return undefined;
    const subnets = [...new Set(leases.flatMap((lease) => lease.subnets))];
    return {
      name,
      labels: record?.labels ?? {},
      addresses: value.addresses,
      subnets,
      backend: value.backend,
    };
  }
}

/** The value of a confirmed affinity: only such a block may be announced. */
const CONFIRMED: AffinityState = 'confirmed';

function isIn({ from, to }: KeyRange, key: string): boolean {
  return key >= from && key < to;
}

/** What may be another, or look different, now: the node of a lease, and nodes by name. */
type Dirty = { readonly leases: Set<string>; readonly names: Set<string> };

/** Public addresses, IPv4 first: flannel tells nodes apart by that one. */
function addressesOf({ value }: Lease): Ip[] {
  return [value?.addresses[4], value?.addresses[6]].filter((ip) => ip !== undefined);
}

function sameValue(known: KeyValue | undefined, kv: KeyValue): boolean {
  return known !== undefined && known.value === kv.value && known.modRevision === kv.modRevision;
}

/** Where a name is, or belongs, in a list sorted by name. */
function search(nodes: readonly Node[], name: string): { index: number; found: Node | undefined } {
  let low = 0;
  let high = nodes.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((nodes[middle]?.name ?? '') < name) low = middle + 1;
    else high = middle;
  }
  const candidate = nodes[low];
  return { index: low, found: candidate?.name === name ? candidate : undefined };
}
