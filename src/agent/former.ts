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

  /** Drops the peers' except those in `late`. Returns whether there were any. */
  dropPeers(late: ReadonlySet<string>): boolean {
    return this.#set(this.#kept.filter(({ peer }) => peer === undefined || late.has(peer)));
  }

  drop(): boolean {
    return this.#set([]);
  }

  #set(kept: readonly Kept[]): boolean {
    const isLess = kept.length < this.#kept.length;
    this.#kept = kept;
    return isLess;
  }
}
