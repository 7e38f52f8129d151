import type { Contribution } from '../state/contributions.ts';

/** `peer`: the name of the peer it belongs to, if any. */
type Kept = { readonly peer: string | undefined; readonly contribution: Contribution };

/** What the former backend contributed, kept during a handover. It yields to every other owner. */
export class Former {
  #kept: readonly Kept[] = [];

  get contributions(): readonly Contribution[] {
    return this.#kept.map(({ contribution }) => contribution);
  }

  keep(contributions: readonly Contribution[]): void {
    this.#kept = contributions.map(({ owner, items }) => ({
      peer: owner.part === 'peer' ? owner.name : undefined,
      contribution: { owner: { ...owner, part: 'former' }, items, warnings: [] },
    }));
  }

  /**
   * Drops what sends to the peers except those in `late`. What these peers still send, until they learn of
   * this node's new backend, has to be received. Returns whether there was anything to drop.
   */
  dropPeers(late: ReadonlySet<string>): boolean {
    const kept = this.#kept.map((each) =>
      each.peer === undefined || late.has(each.peer) ? each : onlyReceiving(each),
    );
    const isLess = kept.some((each, i) => each !== this.#kept[i]);
    this.#kept = kept;
    return isLess;
  }

  drop(): boolean {
    const isLess = this.#kept.length > 0;
    this.#kept = [];
    return isLess;
  }
}

/** Only a peer's elements of sets remain: they permit it to send (`Backend.member`). */
function onlyReceiving(kept: Kept): Kept {
  const { owner, items, warnings } = kept.contribution;
  const permits = items.filter(({ kind }) => kind === 'nft-element');
  return permits.length === items.length
    ? kept
    : { ...kept, contribution: { owner, items: permits, warnings } };
}
