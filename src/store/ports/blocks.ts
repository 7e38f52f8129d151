import type { Ip } from '../../ip/address.ts';
import type { Cidr } from '../../ip/cidr.ts';

/**
 * The objects of the `blocks` address plan. Each is read and changed on its own; `ipam/blocks` orders the
 * steps so that a crash between any two of them does no harm:
 *
 * - A **block** records its node and the owner of each of its addresses. It alone decides both.
 * - An **affinity** announces that a node has a block, wants to claim it, or is releasing it. Only confirmed
 *   ones are advertised.
 * - A **handle** is an index of an owner's addresses in other nodes' blocks. It may list too much, never too
 *   little. Addresses in a node's own blocks are found by searching those.
 *
 * Compare-and-swap methods return undefined, or false, when the object has changed since it was read.
 */
export interface BlockStore {
  config(): Promise<IpamConfig>;
  /** Changes the given fields and returns the whole. Throws STORE_CONFLICT on a concurrent change. */
  configure(change: Partial<IpamConfig>): Promise<IpamConfig>;

  /** Returns those blocks that exist, in the given order. Throws CONFIG_INVALID for an unreadable one. */
  blocks(cidrs: readonly Cidr[]): Promise<Stored<Block>[]>;
  /** Every block of the cluster: tens of megabytes with a thousand nodes. */
  allBlocks(): Promise<Stored<Block>[]>;
  /** Returns undefined when the block already exists. */
  createBlock(block: Block): Promise<Stored<Block> | undefined>;
  replaceBlock(read: Stored<Block>, next: Block): Promise<Stored<Block> | undefined>;
  deleteBlock(read: Stored<Block>): Promise<boolean>;

  /** The affinities of one node or of all, oldest first if the store can tell. */
  affinities(node?: string): Promise<Stored<Affinity>[]>;
  /** Creates a pending affinity, or returns the existing one. */
  announce(node: string, cidr: Cidr): Promise<Stored<Affinity>>;
  setAffinity(read: Stored<Affinity>, state: AffinityState): Promise<Stored<Affinity> | undefined>;
  deleteAffinity(read: Stored<Affinity>): Promise<boolean>;

  /** Returns the handles in the given order; undefined for missing ones. */
  handles(ids: readonly string[]): Promise<(Stored<Handle> | undefined)[]>;
  /** `read`: undefined to create the handle. */
  writeHandle(
    id: string,
    read: Stored<Handle> | undefined,
    next: Handle,
  ): Promise<Stored<Handle> | undefined>;
  deleteHandle(id: string, read: Stored<Handle>): Promise<boolean>;

  /**
   * Returns everything, with unreadable objects listed separately. In a store that lists one kind after
   * another, the snapshot is not of a single moment, so consistency checks need to confirm their findings.
   */
  snapshot(): Promise<Snapshot>;
}

/** A value as read from the store, with its version. */
export type Stored<T> = { readonly value: T; readonly version: Version };

/** An object's version, replaced by every change. Opaque: versions have no order. */
export type Version = string & { readonly __version: true };

/** The owner of an address. */
export type Owner = {
  readonly handle: string;
  /** The node that uses the address; differs from the block's node if the address is borrowed. */
  readonly node: string;
  readonly pod?: string;
  readonly namespace?: string;
  readonly type?: string;
};

export type Allocation = Owner & {
  /** Unique among all allocations of the block, to distinguish successive owners of an address (ABA). */
  readonly sequence: number;
  /** Seconds since 1970. */
  readonly at: number;
};

/**
 * A block of addresses claimed by one node. Addresses are identified by their ordinal, counted from the
 * network address; all of them are usable, as there is no broadcast between routed pods.
 */
export type Block = {
  readonly cidr: Cidr;
  /** The node the block belongs to. Only this node advertises the block and assigns from it first. */
  readonly node: string;
  /**
   * Sequence number of the next allocation. Starts with the creation time, so that a recreated block never
   * repeats one.
   */
  readonly sequence: number;
  /** Time of the last assignment, release or hand-over. Seconds since 1970. */
  readonly changed: number;
  readonly allocations: ReadonlyMap<number, Allocation>;
  /** Release times of free addresses that were used before; the longest free comes first. */
  readonly released: ReadonlyMap<number, number>;
};

/** `pending`: announced, or about to be released. `confirmed`: the block exists and is the node's. */
export type AffinityState = 'pending' | 'confirmed';

export function isAffinityState(text: string): text is AffinityState {
  return text === 'pending' || text === 'confirmed';
}

export type Affinity = { readonly node: string; readonly cidr: Cidr; readonly state: AffinityState };

export type Handle = {
  /** The node that uses the addresses. Absent in handles written by earlier releases. */
  readonly node?: string;
  readonly addresses: readonly { readonly ip: Ip; readonly block: Cidr }[];
};

/** Cluster-wide allocation settings: Calico's IPAMConfig. */
export type IpamConfig = {
  /** Nodes never borrow addresses from each other's blocks. */
  readonly strictAffinity: boolean;
  /** If false, nodes make do with the blocks they have. */
  readonly autoAllocateBlocks: boolean;
  /** Maximum number of blocks per family a node may claim. */
  readonly maxBlocksPerHost: number;
  /** Seconds an address rests after its release. */
  readonly cooldown: number;
};

export const DEFAULT_IPAM_CONFIG: IpamConfig = {
  strictAffinity: false,
  autoAllocateBlocks: true,
  maxBlocksPerHost: 20,
  cooldown: 30,
};

export type Snapshot = {
  readonly config: IpamConfig;
  readonly blocks: readonly Stored<Block>[];
  readonly affinities: readonly Stored<Affinity>[];
  /** By ID. */
  readonly handles: ReadonlyMap<string, Stored<Handle>>;
  /** Objects that are foreign, unreadable, or stored under the wrong name. */
  readonly unreadable: readonly { readonly object: string; readonly problem: string }[];
};

/** The handle for the address of a node's IPIP device. */
export function tunnelHandle(node: string): string {
  return `ipip-tunnel-addr-${node}`;
}
