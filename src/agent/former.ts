import type { Contribution } from '../state/contributions.ts';

type Kept = { readonly isPeer: boolean; readonly contribution: Contribution };

/** What the former backend contributed, kept during a handover. It yields to every other owner. */
export class Former {
  #kept: readonly Kept[] = [];

  get contributions(): readonly Contribution[] {
    return this.#kept.map(({ contribution }) => contribution);
  }

  keep(contributions: readonly Contribution[]): void {
    this.#kept = contributions.map(({ owner, items }) => ({
      isPeer: owner.part === 'peer',
      contribution: { owner: { ...owner, part: 'former' }, items, warnings: [] },
    }));
  }

  /** Returns whether there were any. */
  dropPeers(): boolean {
    return this.#set(this.#kept.filter(({ isPeer }) => !isPeer));
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
