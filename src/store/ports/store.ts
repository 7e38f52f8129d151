import type { Network } from '../../cluster/network.ts';
import type { Node, NodeFacts, PerFamily } from '../../cluster/node.ts';
import type { Resources } from '../../cluster/resources.ts';
import type { Cidr } from '../../ip/cidr.ts';
import type { Kv } from '../kv/kv.ts';

/** Where the cluster's facts live, as an agent needs them. Implementations: `lease-store.ts` on any `Kv`. */
export interface Store {
  /** The connection, for others that keep something in the same store: below `prefix`, and closed with it. */
  readonly kv: Kv;
  readonly prefix: string;
  /** The network's configuration. Throws NOT_FOUND when nobody has written one. */
  network(): Promise<Network>;
  /**
   * Takes or renews this node's subnets by compare-and-swap and publishes its facts: first those its record names (also
   * when its address has changed), then a lease with its public address, then `previous` when it is free, then a free
   * subnet at random. Lost races are retried. Throws OUT_OF_SUBNETS; NAME_TAKEN when an agent at another address answers
   * for this name (a few seconds are given to it); NOT_FOUND without a configuration; CONFIG_INVALID; STORE_UNAVAILABLE.
   * Where addresses are blocks no subnet is taken, only the facts are published; the first node of all makes the default pools.
   */
  acquire(self: NodeFacts, previous: PerFamily<Cidr>): Promise<Claim>;
  /**
   * Yields the whole cluster, first when it is completely known, then after every change (changes close together are one).
   * Reconnects by itself with backoff and jitter; while the store is away it yields nothing. Ends when `signal` aborts.
   */
  watch(signal: AbortSignal): AsyncIterable<ClusterView>;
  close(): void;
}

/** This node's hold on its subnets, kept alive until released. */
export interface Claim {
  readonly subnets: readonly Cidr[];
  /** Publishes changed facts (a new underlay address, a new VTEP MAC) under the same subnets. */
  publish(self: NodeFacts): Promise<void>;
  /** Rejects with LEASE_LOST when someone else holds the subnets now; a missing key is simply written again. */
  readonly lost: Promise<never>;
  /** Stops renewing; the lease stays and runs out by itself, so that peers keep their routes. */
  stop(): void;
  /** Gives the subnets back at once (a node that leaves the cluster for good). */
  release(): Promise<void>;
}

export type ClusterView = {
  readonly network: Network;
  /** With their defaults; the same object until one of them changes. */
  readonly resources: Resources;
  /** Every node with a lease, or where addresses are blocks with a record; this one too; sorted by name. */
  readonly nodes: readonly Node[];
  /** The store's revision: grows with every change. */
  readonly revision: number;
};
