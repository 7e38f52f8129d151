import type { Ip } from '../../ip/address.ts';
import { type Cidr, nthIp } from '../../ip/cidr.ts';
import type { Affinity, Block, BlockStore, IpamConfig, Stored } from '../../store/ports/blocks.ts';

/** Milliseconds for which a reading serves. Upkeep reads anew each minute. */
const RECENT = 90_000;

/** An address, in the block that says whose it is. */
export type Holding = { readonly ip: Ip; readonly block: Block };

export type Known = {
  readonly config: IpamConfig;
  /** This node's, oldest first, pending ones too. */
  readonly affinities: readonly Stored<Affinity>[];
  /** Those that are this node's and confirmed: it takes addresses from them as it likes. */
  readonly blocks: readonly Stored<Block>[];
  /** This node's too, but not confirmed, as a crash left them. */
  readonly unconfirmed: readonly Stored<Block>[];
  /** Affinities that a crash left pending, or whose block is not this node's. */
  readonly unsettled: readonly Stored<Affinity>[];
};

/**
 * What this node knows of its own blocks. Mostly nobody else changes them, so most addresses are given
 * without reading anything: a block that did change is noticed when it is written, by its version.
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

  /**
   * The last reading with this process's own changes since; undefined when it is old or was found out of
   * date.
   */
  recent(): Known | undefined {
    return performance.now() < this.#until ? this.#known : undefined;
  }

  /** Of the last reading, if it has all of them. */
  recentBlocks(cidrs: readonly Cidr[]): readonly Stored<Block>[] | undefined {
    const blocks = this.recent()?.blocks.filter(({ value }) => cidrs.includes(value.cidr));
    return blocks?.length === cidrs.length ? blocks : undefined;
  }

  /** This process has changed a block; undefined: it tried to, and what it knew was out of date. */
  update(block: Stored<Block> | undefined): void {
    if (!block) this.forget();
    else if (this.#known) {
      const blocks = this.#known.blocks.map((each) => (each.value.cidr === block.value.cidr ? block : each));
      this.#known = { ...this.#known, blocks };
    }
  }

  /** This node has just claimed and confirmed the block. */
  add(block: Stored<Block>): void {
    const isKnown = this.#known?.blocks.some(({ value }) => value.cidr === block.value.cidr);
    if (this.#known && !isKnown) this.#known = { ...this.#known, blocks: [...this.#known.blocks, block] };
  }

  forget(): void {
    this.#known = undefined;
  }
}

/** What the handle has of this node's own blocks. */
export function heldOf({ blocks, unconfirmed }: Known, handle: string): Holding[] {
  return [...blocks, ...unconfirmed].flatMap(({ value: block }) =>
    [...block.allocations]
      .filter(([, allocation]) => allocation.handle === handle)
      .map(([ordinal]) => ({ ip: nthIp(block.cidr, ordinal), block })),
  );
}
