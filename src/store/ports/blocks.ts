import type { Ip } from '../../ip/address.ts';
import type { Cidr } from '../../ip/cidr.ts';

/**
 * The objects of the `blocks` address plan. Each is read and changed by itself; `ipam/blocks` puts the steps
 * in an order in which a crash between any two of them does no harm:
 *
 * - A **block** says whose it is and who has which of its addresses. It alone decides both.
 * - An **affinity** announces that a node claims a block, wants to, or is giving it up. Only confirmed ones
 *   are advertised.
 * - A **handle** is an index: where to look for what an owner has of other nodes' blocks. It may name too
 *   much, never too little. A node finds by itself what it has of its own blocks.
 *
 * A method that compares and swaps returns undefined, or false, when the object is not as it was read.
 */
export interface BlockStore {
  config(): Promise<IpamConfig>;
  /**
   * Changes the fields named and returns the whole. Throws STORE_CONFLICT when it is being changed by
   * somebody else.
   */
  configure(change: Partial<IpamConfig>): Promise<IpamConfig>;

  /**
   * Those of the blocks that exist, in the given order. Throws CONFIG_INVALID for one that cannot be read.
   */
  blocks(cidrs: readonly Cidr[]): Promise<Stored<Block>[]>;
  /** Every block of the cluster: tens of megabytes where there are a thousand nodes. */
  allBlocks(): Promise<Stored<Block>[]>;
  /** Undefined when it exists. */
  createBlock(block: Block): Promise<Stored<Block> | undefined>;
  replaceBlock(read: Stored<Block>, next: Block): Promise<Stored<Block> | undefined>;
  deleteBlock(read: Stored<Block>): Promise<boolean>;

  /** Those of one node, or of all, the oldest first as far as the store can tell. */
  affinities(node?: string): Promise<Stored<Affinity>[]>;
  /** Makes a pending affinity, or returns the one that exists. */
  announce(node: string, cidr: Cidr): Promise<Stored<Affinity>>;
  setAffinity(read: Stored<Affinity>, state: AffinityState): Promise<Stored<Affinity> | undefined>;
  deleteAffinity(read: Stored<Affinity>): Promise<boolean>;

  /** In the given order; undefined where there is none. */
  handles(ids: readonly string[]): Promise<(Stored<Handle> | undefined)[]>;
  /** `read`: undefined to create it. */
  writeHandle(
    id: string,
    read: Stored<Handle> | undefined,
    next: Handle,
  ): Promise<Stored<Handle> | undefined>;
  deleteHandle(id: string, read: Stored<Handle>): Promise<boolean>;

  /**
   * Everything, with what cannot be read set apart. A store that lists one kind after the other shows no
   * single moment; whoever looks for contradictions looks twice.
   */
  snapshot(): Promise<Snapshot>;
}

/** A value as it was read. */
export type Stored<T> = { readonly value: T; readonly version: Version };

/** Of one object, made new by every change. Opaque: of two versions nobody can tell which is older. */
export type Version = string & { readonly __version: true };

/** Who has an address. */
export type Owner = {
  readonly handle: string;
  /** Where it is used: not the block's node when the address is borrowed. */
  readonly node: string;
  readonly pod?: string;
  readonly namespace?: string;
  readonly type?: string;
};

export type Allocation = Owner & {
  /** No other allocation of the block ever has it: tells one owner of the address from the next (ABA). */
  readonly sequence: number;
  /** Seconds since 1970. */
  readonly at: number;
};

/**
 * A block of addresses that one node claimed. An address goes by its ordinal, counted from the network
 * address; every one of them may be used, as there is no broadcast between routed pods.
 */
export type Block = {
  readonly cidr: Cidr;
  /** Whose block it is: it alone advertises the block, and takes addresses from it before others borrow. */
  readonly node: string;
  /**
   * What the next allocation gets. Starts with the time of creation, so that a block made again repeats none.
   */
  readonly sequence: number;
  /** When an address last came or went, or the block changed hands. Seconds since 1970. */
  readonly changed: number;
  readonly allocations: ReadonlyMap<number, Allocation>;
  /** When the free addresses that were in use before came back; the longest free comes first. */
  readonly released: ReadonlyMap<number, number>;
};

/** `pending`: announced, or about to be given up. `confirmed`: the block exists and is the node's. */
export type AffinityState = 'pending' | 'confirmed';

export type Affinity = { readonly node: string; readonly cidr: Cidr; readonly state: AffinityState };

export type Handle = {
  /** Where its addresses are used. Absent in handles that releases without it wrote. */
  readonly node?: string;
  readonly addresses: readonly { readonly ip: Ip; readonly block: Cidr }[];
};

/** How blocks are given out, for the whole cluster: Calico's IPAMConfig. */
export type IpamConfig = {
  /** No node takes addresses from another's block. */
  readonly strictAffinity: boolean;
  /** Off: nodes live with the blocks they have. */
  readonly autoAllocateBlocks: boolean;
  /** How many blocks of one family a node may claim. */
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
  /** Objects that are not ours, cannot be read, or stand under a name that is not theirs. */
  readonly unreadable: readonly { readonly object: string; readonly problem: string }[];
};

/** The handle of the address of a node's IPIP device. */
export function tunnelHandle(node: string): string {
  return `ipip-tunnel-addr-${node}`;
}
