import type { Ip } from '../../ip/address.ts';
import { type Cidr, nthIp } from '../../ip/cidr.ts';
import type { Affinity, Block, BlockStore, IpamConfig, Stored } from '../../store/ports/blocks.ts';

/** Cache lifetime in milliseconds. Upkeep refreshes the cache every minute. */
const RECENT = 90_000;

/** An address, and the block that records its owner. */
export type Holding = { readonly ip: Ip; readonly block: Block };

export type Known = {
  readonly config: IpamConfig;
  /** This node's affinities, including pending ones, oldest first. */
  readonly affinities: readonly Stored<Affinity>[];
  /** This node's confirmed blocks, from which it allocates freely. */
  readonly blocks: readonly Stored<Block>[];
  /** This node's blocks that a crash left unconfirmed. */
  readonly unconfirmed: readonly Stored<Block>[];
  /** Affinities that a crash left pending, or whose block belongs to another node. */
  readonly unsettled: readonly Stored<Affinity>[];
};

/**
 * Cache of this node's own blocks. Other nodes rarely change them, so most addresses are assigned without
 * reading anything: a stale block is detected by its version when written.
 */
export class OwnBlocks {
  readonly #store: BlockStore;
  readonly #node: string;
  #known: Known | undefined;
  #until = 0;

  constructor(store: BlockStore, node: string) {
    this.#store = store;
    this.#node = node;
  }

  async read(): Promise<Known> {
    this.forget();
    const [config, affinities] = await Promise.all([
      this.#store.config(),
      this.#store.affinities(this.#node),
    ]);
    const found = await this.#store.blocks(affinities.map(({ value }) => value.cidr));
    const mine = found.filter(({ value }) => value.node === this.#node);
    const settled = affinities.filter(
      ({ value: { state, cidr } }) => state === 'confirmed' && mine.some(({ value }) => value.cidr === cidr),
    );
    const isConfirmed = ({ value: { cidr } }: Stored<Block>): boolean =>
      settled.some(({ value }) => value.cidr === cidr);
    this.#known = {
      config,
      affinities,
      blocks: mine.filter(isConfirmed),
      unconfirmed: mine.filter((block) => !isConfirmed(block)),
      unsettled: affinities.filter((affinity) => !settled.includes(affinity)),
    };
    this.#until = performance.now() + RECENT;
    return this.#known;
  }

  /** The cached state including this process's own changes; undefined when expired or found stale. */
  recent(): Known | undefined {
    return performance.now() < this.#until ? this.#known : undefined;
  }

  /** Returns the blocks from the cache if it contains all of them. */
  recentBlocks(cidrs: readonly Cidr[]): readonly Stored<Block>[] | undefined {
    const blocks = this.recent()?.blocks.filter(({ value }) => cidrs.includes(value.cidr));
    return blocks?.length === cidrs.length ? blocks : undefined;
  }

  /** Records a block changed by this process; undefined means that a write failed on stale data. */
  update(block: Stored<Block> | undefined): void {
    if (!block) this.forget();
    else if (this.#known) {
      const blocks = this.#known.blocks.map((each) => (each.value.cidr === block.value.cidr ? block : each));
      this.#known = { ...this.#known, blocks };
    }
  }

  /** Adds a block that this node has just claimed and confirmed. */
  add(block: Stored<Block>): void {
    const isKnown = this.#known?.blocks.some(({ value }) => value.cidr === block.value.cidr);
    if (this.#known && !isKnown) this.#known = { ...this.#known, blocks: [...this.#known.blocks, block] };
  }

  forget(): void {
    this.#known = undefined;
  }
}

/** Returns the handle's addresses in this node's own blocks. */
export function heldOf({ blocks, unconfirmed }: Known, handle: string): Holding[] {
  return [...blocks, ...unconfirmed].flatMap(({ value: block }) =>
    [...block.allocations]
      .filter(([, allocation]) => allocation.handle === handle)
      .map(([ordinal]) => ({ ip: nthIp(block.cidr, ordinal), block })),
  );
}
