import type { NodeFacts, PerFamily } from '../../cluster/node.ts';
import type { Ip } from '../../ip/address.ts';
import type { Cidr } from '../../ip/cidr.ts';

/** Which machines are nodes of the cluster, and which subnets they hold. */
export interface Membership {
  /**
   * Publishes this node and takes its subnets, one for each family of the network that it has an address in:
   * those it held before (also when its address has changed), else `previous` where free, else any free one.
   * Where addresses are blocks it takes none, and the first node of all makes the default pools. Lost races
   * are retried.
   *
   * Throws NAME_TAKEN when an agent at another address answers for this name (it has a few seconds to do so);
   * OUT_OF_SUBNETS; NOT_FOUND without a network configuration; NAME_INVALID; CONFIG_INVALID.
   */
  join(self: NodeFacts, previous: PerFamily<Cidr>): Promise<Claim>;
  /** Every node that holds subnets, sorted by name. */
  members(): Promise<readonly Member[]>;
  /** Every node the cluster knows, also one without subnets. */
  names(): Promise<ReadonlySet<string>>;
  /**
   * Whether an agent answers for this node. Waits up to `patience` milliseconds; false at once for an unknown
   * node.
   */
  isAlive(node: string, patience?: number): Promise<boolean>;
  /**
   * Removes a node and frees its subnets, whether its agent lives or not. Returns false when there was none.
   */
  forget(node: string): Promise<boolean>;
}

/** This node's hold on its place in the cluster, kept alive until it is stopped. */
export interface Claim {
  /** None where addresses are blocks. */
  readonly subnets: readonly Cidr[];
  /** Publishes changed facts (a new underlay address, a new VTEP MAC) under the same subnets. */
  publish(self: NodeFacts): Promise<void>;
  /**
   * Rejects with LEASE_LOST once somebody else holds the name or the subnets. What merely vanished is written
   * again.
   */
  readonly lost: Promise<never>;
  /**
   * Stops renewing. The store keeps the node for a while, or until it is forgotten, so that peers keep their
   * routes.
   */
  stop(): void;
  /** Leaves the cluster at once. */
  release(): Promise<void>;
}

export type Member = {
  readonly node: string;
  readonly subnets: readonly Cidr[];
  /** In the family of its first subnet. */
  readonly publicIp?: Ip;
  readonly backend?: string;
  /**
   * Seconds until the store drops it unless it is renewed; absent where it stays until somebody removes it.
   */
  readonly expires?: number;
};
