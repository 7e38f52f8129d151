import type { Contribution } from '../state/contributions.ts';
import type { Prune } from '../state/diff.ts';
import { type Item, keyOf } from '../state/item.ts';

/** `peer`: the name of the peer it belongs to, if any. */
type Kept = { readonly peer: string | undefined; readonly contribution: Contribution };

/** What one backend contributed. */
type Generation = { readonly backend: string; readonly kept: readonly Kept[] };

/**
 * What the former backends contributed, kept during a handover: all of them, as a peer may be as many changes
 * behind. It yields to every other owner. Of a backend that nobody knows any more, it keeps what there is.
 */
export class Former {
  /** The latest last. */
  #generations: readonly Generation[] = [];
  #contributions: readonly Contribution[] = [];
  #prune: Prune = true;

  /** The same objects until something is kept or dropped. */
  get contributions(): readonly Contribution[] {
    return this.#contributions;
  }

  /** Which items that nobody wants may go. */
  get prune(): Prune {
    return this.#prune;
  }

  /** Keeps whatever the kernel holds, until `drop`. */
  keepRemains(): void {
    this.#prune = isNoRemains;
  }

  /** Keeps the contributions of a backend, instead of earlier ones of the same; pods' depend on none. */
  keep(backend: string, contributions: readonly Contribution[]): void {
    const kept = contributions
      .filter(({ owner }) => owner.part !== 'pod')
      .map(
        ({ owner, items }): Kept => ({
          peer: owner.part === 'peer' ? owner.name : undefined,
          contribution: { owner: { ...owner, part: 'former', id: backend }, items, warnings: [] },
        }),
      );
    this.#set([...this.#generations.filter((each) => each.backend !== backend), { backend, kept }]);
  }

  /**
   * Drops what sends to the peers, except to those in `late`: there by name, with the backend that each
   * still uses. What the others still send, until they learn of this node's new backend, has to be
   * received. Returns whether there was anything to drop.
   */
  dropPeers(late: ReadonlyMap<string, string>): boolean {
    const sendsByRemains = late.size === 0 && this.#prune === isNoRemains;
    if (sendsByRemains) this.#prune = isNotReceiving;
    const isLess = this.#set(
      this.#generations.map(({ backend, kept }) => ({
        backend,
        kept: kept.map((each) =>
          each.peer === undefined || late.get(each.peer) === backend ? each : onlyReceiving(each),
        ),
      })),
    );
    return isLess || sendsByRemains;
  }

  /** Returns whether there was anything to drop. */
  drop(): boolean {
    const hadRemains = this.#prune !== true;
    this.#prune = true;
    return this.#set([]) || hadRemains;
  }

  #set(generations: readonly Generation[]): boolean {
    const isLess = count(generations) < count(this.#generations);
    this.#generations = generations;
    this.#contributions = withoutRivals(generations);
    return isLess;
  }
}

/** The number of items. */
function count(generations: readonly Generation[]): number {
  const all = generations.flatMap(({ kept }) => kept);
  return all.reduce((sum, { contribution }) => sum + contribution.items.length, 0);
}

/** Only a peer's elements of sets remain: they permit it to send (`Backend.member`). */
function onlyReceiving(kept: Kept): Kept {
  const { owner, items, warnings } = kept.contribution;
  const permits = items.filter(({ kind }) => kind === 'nft-element');
  return permits.length === items.length
    ? kept
    : { ...kept, contribution: { owner, items: permits, warnings } };
}

/** Where two generations hold the same key, the later one is what a peer uses now. */
function withoutRivals(generations: readonly Generation[]): readonly Contribution[] {
  const taken = new Set<string>();
  return generations.toReversed().flatMap(({ kept }) => {
    const left = kept.map(({ contribution }) => {
      const items = contribution.items.filter((item) => !taken.has(keyOf(item)));
      return items.length < contribution.items.length ? { ...contribution, items } : contribution;
    });
    for (const { items } of left) for (const item of items) taken.add(keyOf(item));
    return left;
  });
}

/**
 * What may be removed while a backend that nobody knows any more is in use: not its devices and tables, nor
 * routes, which may lead to peers that still use it, through whatever device.
 */
function isNoRemains({ kind }: Item, isOnWanted: boolean): boolean {
  return isOnWanted && kind !== 'route';
}

/** The same, also routes to peers: all of them have another backend. */
function isNotReceiving(item: Item, isOnWanted: boolean): boolean {
  return isOnWanted || (item.kind === 'route' && item.via !== undefined);
}
