import { type Claim, Claims, type Law } from '../../cluster/claims.ts';
import type { Ip } from '../../ip/address.ts';
import type { Cidr } from '../../ip/cidr.ts';
import type { Lease, Recorded } from './facts.ts';
import { Multimap } from './indexes.ts';
import type { Layout } from './layout.ts';

/**
 * The leases, the nodes' records, and the node each lease belongs to: the node whose record names its
 * subnets; else the recorded node with its public address (a reservation, or left by flannel on that
 * machine); else a plain flannel node, named by its public address. A change only costs work for what it
 * affects.
 *
 * Not every lease counts: anyone can write a key, so `Claims` decides which subnets are a node's.
 */
export class LeaseTable {
  readonly #layout: Layout;
  readonly #leases = new Map<string, Lease>();
  readonly #records = new Map<string, Recorded>();
  readonly #leasesByAddress = new Multimap<Ip, string>();
  readonly #namesByAddress = new Multimap<Ip, string>();
  readonly #namesByLease = new Multimap<string, string>();
  /** The node of each lease, and the leases of each node. */
  readonly #owners = new Map<string, string>();
  readonly #owned = new Multimap<string, string>();
  /** The leases' subnets, by key, and which of them count. */
  readonly #claimed = new Map<string, readonly Claim[]>();
  readonly #claims = new Claims();
  /**
   * Since the last `settle`: leases that may belong to another node now, and nodes whose record was added or
   * deleted.
   */
  readonly #leasesToSettle = new Set<string>();
  readonly #changedNames = new Set<string>();

  constructor(layout: Layout) {
    this.#layout = layout;
  }

  record(name: string): Recorded | undefined {
    return this.#records.get(name);
  }

  lease(key: string): Lease | undefined {
    return this.#leases.get(key);
  }

  /** The lease named by a node's record. */
  leaseOf(name: string): Lease | undefined {
    const record = this.#records.get(name)?.record;
    return record && this.lease(this.#layout.lease(record.subnets));
  }

  /** The node that a lease belongs to. */
  ownerOf(leaseKey: string): string | undefined {
    return this.#owners.get(leaseKey);
  }

  /** The leases that belong to a node. */
  leasesOf(name: string): Lease[] {
    return [...this.#owned.get(name)].flatMap((key) => this.lease(key) ?? []);
  }

  /** The subnets of a lease that count. */
  subnetsOf(leaseKey: string): Cidr[] {
    const claims = this.#claimed.get(leaseKey) ?? [];
    return claims.filter((claim) => this.#claims.refusal(claim) === undefined).map(({ cidr }) => cidr);
  }

  /** Why subnets of leases do not count, by key. */
  refusals(): [key: string, reason: string][] {
    return [...this.#claims.refusals].map(([{ key }, reason]) => [key, reason]);
  }

  /** Sets which subnets a node may have. Takes effect when settled. */
  set law(law: Law) {
    this.#claims.law = law;
  }

  /** The leases with this public address. */
  leasesAt(ip: Ip): Lease[] {
    return [...this.#leasesByAddress.get(ip)].flatMap((key) => this.lease(key) ?? []);
  }

  /** The names of all nodes. */
  names(): readonly string[] {
    return [...this.#records.keys(), ...this.#owners.values()];
  }

  addLease(lease: Lease): void {
    const { key } = lease.kv;
    this.#leases.set(key, lease);
    for (const ip of addressesOf(lease)) this.#leasesByAddress.add(ip, key);
    this.#leasesToSettle.add(key);
  }

  deleteLease(lease: Lease): void {
    const { key } = lease.kv;
    this.#leases.delete(key);
    for (const ip of addressesOf(lease)) this.#leasesByAddress.delete(ip, key);
    this.#leasesToSettle.add(key);
  }

  addRecord(recorded: Recorded): void {
    this.#records.set(recorded.record.name, recorded);
    this.#index(recorded, (map, at, name) => map.add(at, name));
  }

  deleteRecord(recorded: Recorded): void {
    this.#records.delete(recorded.record.name);
    this.#index(recorded, (map, at, name) => map.delete(at, name));
  }

  /** Attributes leases to nodes. Returns the nodes that may have changed since the last call. */
  settle(): ReadonlySet<string> {
    const names = new Set(this.#changedNames);
    for (const key of this.#leasesToSettle) {
      const before = this.#owners.get(key);
      const lease = this.lease(key);
      const owner = lease && this.#findOwner(lease);
      if (before !== undefined) {
        names.add(before);
        this.#owned.delete(before, key);
        this.#owners.delete(key);
      }
      this.#claim(key, lease, owner);
      if (owner !== undefined) {
        names.add(owner);
        this.#owned.add(owner, key);
        this.#owners.set(key, owner);
      }
    }
    this.#changedNames.clear();
    this.#leasesToSettle.clear();
    for (const name of this.#claims.settle()) names.add(name);
    return names;
  }

  #claim(key: string, lease: Lease | undefined, owner: string | undefined): void {
    for (const claim of this.#claimed.get(key) ?? []) this.#claims.delete(claim);
    this.#claimed.delete(key);
    if (!lease || owner === undefined) return;
    const age = lease.kv.createRevision;
    const claims = lease.subnets.map((cidr): Claim => ({ key, owner, cidr, age }));
    for (const claim of claims) this.#claims.add(claim);
    this.#claimed.set(key, claims);
  }

  #index(
    { record }: Recorded,
    change: (map: Multimap<string, string>, at: string, name: string) => void,
  ): void {
    const lease = this.#layout.lease(record.subnets);
    change(this.#namesByLease, lease, record.name);
    this.#changedNames.add(record.name);
    this.#leasesToSettle.add(lease);
    for (const ip of Object.values(record.addresses)) {
      change(this.#namesByAddress, ip, record.name);
      for (const key of this.#leasesByAddress.get(ip)) this.#leasesToSettle.add(key);
    }
  }

  #findOwner(lease: Lease): string | undefined {
    const addresses = addressesOf(lease);
    const [address] = addresses;
    // A lease without an address is a reservation that no node uses.
    if (address === undefined) return undefined;
    const named = this.#newest(this.#namesByLease.get(lease.kv.key));
    return named ?? this.#newest(addresses.flatMap((ip) => [...this.#namesByAddress.get(ip)])) ?? address;
  }

  #newest(names: Iterable<string>): string | undefined {
    const written = (name: string): number => this.#records.get(name)?.kv.modRevision ?? 0;
    return [...names].sort((a, b) => written(b) - written(a))[0];
  }
}

/** The public addresses, IPv4 first: flannel identifies nodes by that one. */
function addressesOf({ inForce }: Lease): Ip[] {
  return [inForce?.addresses[4], inForce?.addresses[6]].filter((ip) => ip !== undefined);
}
