import type { IpPool, IpReservation } from '../../cluster/resources.ts';
import { familyOf, type Ip } from '../../ip/address.ts';
import type { Cidr } from '../../ip/cidr.ts';
import type { Allocation, Block, BlockStore, Handle, Stored } from '../../store/ports/blocks.ts';
import { isHeldBy } from './block.ts';
import { freeAddresses, type What } from './free.ts';
import { type Holding, heldOf, type Known, OwnBlocks } from './own-blocks.ts';

export type BlockAssignerOptions = {
  readonly store: BlockStore;
  readonly node: string;
  /** As they are now, like the next. */
  readonly nodeLabels: () => Readonly<Record<string, string>>;
  readonly resources: () => {
    readonly ipPools: readonly IpPool[];
    readonly ipReservations: readonly IpReservation[];
  };
  /** Milliseconds since 1970; Date.now by default. */
  readonly clock?: () => number;
  readonly random?: () => number;
};

/** What a handle has, and what it was read from. */
export type Look = {
  readonly handle: Stored<Handle> | undefined;
  readonly known: Known;
  /** IPv4 first. */
  readonly held: readonly Holding[];
};

/** What one node has of the blocks plan, and may have. Not for two callers at a time. */
export class NodeBlocks {
  readonly store: BlockStore;
  readonly own: OwnBlocks;
  readonly name: string;
  readonly random: () => number;
  readonly #options: BlockAssignerOptions;
  /** By handle: the blocks that an allocation may still be on its way to, as there was no answer. */
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
   * Reads what the handle has: what is found in this node's blocks, and what it names of others and these
   * confirm. `own`: what remembers the reading.
   */
  async look(id: string, own = this.own): Promise<Look> {
    const [[handle], known] = await Promise.all([this.store.handles([id]), own.read()]);
    const mine = heldOf(known, id);
    const named = handle ? await this.#verified(id, handle.value) : [];
    const others = named.filter(({ ip }) => !mine.some((each) => each.ip === ip));
    return { handle, known, held: [...mine, ...others].sort((a, b) => familyOf(a.ip) - familyOf(b.ip)) };
  }

  /** Writes a block that has an address for the handle; false when it is not as it was read. */
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

  /** Frees what the handle has, or `which` of it. */
  async release(handle: string, which?: What['which']): Promise<readonly Ip[]> {
    const wasKnown = this.own.recent() !== undefined;
    const what = { handle, ...(which && { which }) };
    const freed = await this.free({ ...what, blocks: await this.#holding(handle) });
    if (freed.length > 0 || !wasKnown) return freed;
    // Nothing by what was known: another process of this node may have taken it.
    this.own.forget();
    const blocks = await this.#holding(handle);
    return blocks.length > 0 ? this.free({ ...what, blocks }) : freed;
  }

  async free(what: What): Promise<readonly Ip[]> {
    const unanswered = this.#unanswered.get(what.handle) ?? [];
    const freed = await freeAddresses(
      this.store,
      { ...what, unanswered },
      {
        now: this.now,
        read: async (cidrs) => this.own.recentBlocks(cidrs) ?? this.store.blocks(cidrs),
        changed: (block) => this.own.update(block),
        random: this.random,
      },
    );
    this.#unanswered.delete(what.handle);
    return freed;
  }

  /** This node's blocks that have addresses of the handle. */
  async #holding(handle: string): Promise<Cidr[]> {
    const known = this.own.recent() ?? (await this.own.read());
    return [...new Set(heldOf(known, handle).map(({ block }) => block.cidr))];
  }

  async #verified(id: string, { addresses }: Handle): Promise<Holding[]> {
    const blocks = await this.store.blocks([...new Set(addresses.map(({ block }) => block))]);
    return addresses.flatMap(({ ip, block: cidr }) => {
      const block = blocks.find(({ value }) => value.cidr === cidr)?.value;
      return block && isHeldBy(block, ip, id) ? [{ ip, block }] : [];
    });
  }
}

/** Which of a handle's addresses have these sequence numbers. */
export function bySequence(
  addresses: readonly { readonly ip: Ip; readonly sequence: number }[],
): (ip: Ip, allocation: Allocation) => boolean {
  return (ip, { sequence }) => addresses.some((each) => each.ip === ip && each.sequence === sequence);
}
