import type { Node, NodeFacts, PerFamily } from '../../cluster/node.ts';
import type { Ip } from '../../ip/address.ts';
import type { Cidr } from '../../ip/cidr.ts';

/** The nodes of the cluster and the subnets they hold. */
export interface Membership {
  /**
   * Publishes this node and claims its subnets, one for each family of the network in which it has an
   * address: those it held before (even if its address has changed), else `previous` if free, else any free
   * one. Under the `blocks` plan it claims none, and the very first node creates the default pools. Lost
   * races are retried.
   *
   * Throws NAME_TAKEN when an agent at another address answers for this name (within a few seconds);
   * OUT_OF_SUBNETS; NOT_FOUND without a network configuration; NAME_INVALID; CONFIG_INVALID.
   */
  join(self: NodeFacts, previous: PerFamily<Cidr>): Promise<Claim>;
  /** Every node that holds subnets, sorted by name. */
  members(): Promise<readonly Member[]>;
  /** Every known node, including those without subnets. */
  names(): Promise<ReadonlySet<string>>;
  /**
   * Whether an agent answers for this node. Waits up to `patience` milliseconds; returns false immediately
   * for an unknown node.
   */
  isAlive(node: string, patience?: number): Promise<boolean>;
  /**
   * Removes a node and frees its subnets, whether or not its agent is alive. Returns false when there was
   * none.
   */
  forget(node: string): Promise<boolean>;
  /**
   * Takes over nodes of another store, with their subnets, before their agents join here: peers that join
   * first know how to reach them, and nobody takes what is theirs. A node that is here already stays as it
   * is. With `dryRun`, only says what would happen. Throws STORE_CONFLICT if a node changes meanwhile.
   */
  place(nodes: readonly Node[], dryRun?: boolean): Promise<readonly Placement[]>;
  /**
   * Tells the cluster's scheduler whether a node takes pods, and why not; again if it was told otherwise
   * meanwhile. Costs nothing while it knows. Absent where nobody would read it.
   */
  announce?(node: string, obstacle: Obstacle | undefined): Promise<void>;
  /**
   * Notes something wrong on a node, or with one of its pods, where those look who watch the cluster. Returns
   * at once; a note may get lost. Absent where nobody would read it.
   */
  note?(node: string, trouble: Obstacle, pod?: NotedPod): void;
}

/** A pod that a note is about. */
export type NotedPod = {
  readonly namespace: string;
  readonly name: string;
  readonly uid?: string;
};

/** `refused`: why a node cannot be placed; nothing is written for it. */
export type Placement =
  | { readonly node: string; readonly outcome: 'placed' | 'present' }
  | { readonly node: string; readonly outcome: 'refused'; readonly reason: string };

/** Why a node takes no pods, or what else is wrong: a word in CamelCase, and a sentence. */
export type Obstacle = { readonly reason: string; readonly message: string };

/** This node's claim to its name and subnets, kept alive until stopped. */
export interface Claim {
  /** Empty under the `blocks` plan. */
  readonly subnets: readonly Cidr[];
  /** Publishes changed facts (a new underlay address, a new VTEP MAC) under the same subnets. */
  publish(self: NodeFacts): Promise<void>;
  /** How long others may still believe in this claim. */
  readonly renewal: Renewal;
  /**
   * Rejects with LEASE_LOST once another node holds the name or the subnets. Deleted keys are just rewritten.
   */
  readonly lost: Promise<never>;
  /**
   * Stops renewing. The node stays in the store for a while, or until forgotten, so peers keep their routes.
   */
  stop(): void;
  /** Leaves the cluster at once. */
  release(): Promise<void>;
}

export type Renewal = {
  /** When the store last confirmed the claim. */
  readonly at: Date;
  /** When it ends unless renewed before: peers then drop their routes. Absent: it stays until removed. */
  readonly expires?: Date;
  /** Why the last attempt to renew it failed; absent if it succeeded. */
  readonly problem?: string;
};

export type Member = {
  readonly node: string;
  readonly subnets: readonly Cidr[];
  /** In the family of its first subnet. */
  readonly publicIp?: Ip;
  readonly backend?: string;
  /** Seconds until it expires unless renewed; absent if it stays until removed. */
  readonly expires?: number;
  /** An operator has reserved the subnets: they never expire, unlike others of this store. */
  readonly reserved?: true;
};
