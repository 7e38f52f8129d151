import type { IpPool, IpReservation } from '../../cluster/resources.ts';
import { familyOf, type Ip } from '../../ip/address.ts';
import type { Cidr } from '../../ip/cidr.ts';
import type { Allocation, Block, BlockStore, Handle, Stored } from '../../store/ports/blocks.ts';
import { fence, isHeldBy } from './block.ts';
import { type FreeRequest, freeAddresses } from './free.ts';
import { type Holding, heldOf, type Known, OwnBlocks } from './own-blocks.ts';

export type BlockAssignerOptions = {
  readonly store: BlockStore;
  readonly node: string;
  /** Called for the current labels, as `resources` is for the current resources. */
  readonly nodeLabels: () => Readonly<Record<string, string>>;
  readonly resources: () => {
    readonly ipPools: readonly IpPool[];
    readonly ipReservations: readonly IpReservation[];
  };
  /** Milliseconds since 1970; Date.now by default. */
  readonly clock?: () => number;
  readonly random?: () => number;
};

/** A handle's addresses and the data they were read from. */
export type HandleState = {
  readonly handle: Stored<Handle> | undefined;
  readonly known: Known;
  /** IPv4 first. */
  readonly held: readonly Holding[];
};

/**
 * One node's view of the `blocks` plan: its own blocks and the pools it may use. Not for concurrent callers.
 */
export class NodeBlocks {
  readonly store: BlockStore;
  readonly own: OwnBlocks;
  readonly name: string;
  readonly random: () => number;
  readonly #options: BlockAssignerOptions;
  /** By handle: blocks with writes that got no reply and may still be in flight. */
  readonly #unanswered = new Map<string, readonly Cidr[]>();

  constructor(options: BlockAssignerOptions) {
    this.store = options.store;
    this.own = new OwnBlocks(options.store, options.node);
    this.name = options.node;
    this.random = options.random ?? Math.random;
    this.#options = options;
  }

  get labels(): Readonly<Record<string, string>> {
    return this.#options.nodeLabels();
  }

  get pools(): readonly IpPool[] {
    return this.#options.resources().ipPools;
  }

  get reserved(): readonly Cidr[] {
    return this.#options.resources().ipReservations.flatMap(({ cidrs }) => cidrs);
  }

  /** Seconds since 1970. */
  get now(): number {
    return (this.#options.clock ?? Date.now)() / 1000;
  }

  /**
   * Reads the handle's addresses: those found in this node's blocks, and those it lists in other nodes'
   * blocks if these confirm them. `own`: the cache that stores what was read.
   */
  async inspect(id: string, own = this.own): Promise<HandleState> {
    const [[handle], known] = await Promise.all([this.store.handles([id]), own.read()]);
    const mine = heldOf(known, id);
    const named = handle ? await this.#verify(id, handle.value) : [];
    const others = named.filter(({ ip }) => !mine.some((each) => each.ip === ip));
    return { handle, known, held: [...mine, ...others].sort((a, b) => familyOf(a.ip) - familyOf(b.ip)) };
  }

  /** Writes a block with a new address for the handle; false when the block has changed since it was read. */
  async write(handle: string, read: Stored<Block>, next: Block): Promise<boolean> {
    try {
      const written = await this.store.replaceBlock(read, next);
      this.own.update(written);
      if (written?.value.node === this.name) this.own.add(written);
      return written !== undefined;
    } catch (error) {
      this.#unanswered.set(handle, [...(this.#unanswered.get(handle) ?? []), next.cidr]);
      this.own.forget();
      throw error;
    }
  }

  /** Whether a write for the handle got no reply, and may still be in flight. */
  hasUnanswered(handle: string): boolean {
    return this.#unanswered.has(handle);
  }

  /**
   * Makes the handle's writes that got no reply fail if they are still in flight, so that what is read next
   * stays true. Rejects as the store does; they stay noted then.
   */
  async fenceUnanswered(handle: string): Promise<void> {
    const cidrs = this.#unanswered.get(handle);
    if (!cidrs) return;
    for (const block of await this.store.blocks([...new Set(cidrs)])) {
      // A version that has changed meanwhile fences as well.
      this.own.update(await this.store.replaceBlock(block, fence(block.value)));
    }
    this.#unanswered.delete(handle);
  }

  /**
   * Frees the handle's addresses that this node uses, or those of them selected by `filter`. Another node's
   * stay: the handle may come from records copied from there.
   */
  async release(handle: string, filter?: (ip: Ip) => boolean): Promise<readonly Ip[]> {
    const wasKnown = this.own.recent() !== undefined;
    const request = {
      handle,
      filter: (ip: Ip, { node }: Allocation) => node === this.name && (filter?.(ip) ?? true),
    };
    const freed = await this.free({ ...request, blocks: await this.#blocksHolding(handle) });
    if (freed.length > 0 || !wasKnown) return freed;
    // The cache knows of none, but another process on this node may have allocated some.
    this.own.forget();
    const blocks = await this.#blocksHolding(handle);
    return blocks.length > 0 ? this.free({ ...request, blocks }) : freed;
  }

  async free(request: FreeRequest): Promise<readonly Ip[]> {
    const unanswered = this.#unanswered.get(request.handle) ?? [];
    const freed = await freeAddresses(
      this.store,
      { ...request, unanswered },
      {
        now: this.now,
        read: async (cidrs) => this.own.recentBlocks(cidrs) ?? this.store.blocks(cidrs),
        changed: (block) => this.own.update(block),
        random: this.random,
      },
    );
    this.#unanswered.delete(request.handle);
    return freed;
  }

  /** Returns this node's blocks that contain addresses of the handle. */
  async #blocksHolding(handle: string): Promise<Cidr[]> {
    const known = this.own.recent() ?? (await this.own.read());
    return [...new Set(heldOf(known, handle).map(({ block }) => block.cidr))];
  }

  async #verify(id: string, { addresses }: Handle): Promise<Holding[]> {
    const blocks = await this.store.blocks([...new Set(addresses.map(({ block }) => block))]);
    return addresses.flatMap(({ ip, block: cidr }) => {
      const block = blocks.find(({ value }) => value.cidr === cidr)?.value;
      return block && isHeldBy(block, ip, id) ? [{ ip, block }] : [];
    });
  }
}

/** Returns a filter for exactly these allocations, by sequence number. */
export function bySequence(
  addresses: readonly { readonly ip: Ip; readonly sequence: number }[],
): (ip: Ip, allocation: Allocation) => boolean {
  return (ip, { sequence }) => addresses.some((each) => each.ip === ip && each.sequence === sequence);
}
