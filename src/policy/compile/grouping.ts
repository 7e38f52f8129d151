import type { Effect } from './effects.ts';
import { Excess, type Most } from './excess.ts';
import { type Deciding, Fates } from './fates.ts';

/** So many identities are kept apart by the rules that decide about them, so that each rule is counted. */
export const MOST_APART = 512;

/**
 * Which identities are one to the kernel. Where there are more than `mostApart`, as with thousands of
 * networks, these are all of whose connections with this node's pods the same becomes, by whichever rules.
 * `stranger`: what an address is that no rule tells apart. What it returns throws `Excess`.
 */
export function grouping(
  deciding: Deciding,
  stranger: Effect,
  mostApart: number,
  most: Most,
): (all: ReadonlySet<Effect>) => (one: Effect) => Effect {
  return (all) => {
    const fates = new Fates(deciding, most);
    const byFate = Map.groupBy(all, (each) => fates.of(each));
    if (byFate.size > most.groups) refuseGreediest(fates, most);
    if (all.size <= mostApart) return (one) => one;
    const groups = new Map<Effect, Effect>();
    for (const members of byFate.values()) {
      const group = together(members, stranger);
      for (const each of members) groups.set(each, group);
    }
    return (one) => groups.get(one) ?? one;
  };
}

/** Unless all are closed already, and nobody is left to answer for the number. */
function refuseGreediest(fates: Fates, { groups, closed = new Set() }: Most): void {
  const greediest = fates.greediest(closed);
  const what = `the other ends that all rules tell apart are more than ${groups}, and most of them its`;
  if (greediest) throw new Excess(greediest.scope, what);
}

/** Stands for all of them: always the same one, as their rules are counted together. */
function together(members: readonly Effect[], stranger: Effect): Effect {
  const least = members.reduce((a, b) => (b.key < a.key ? b : a));
  if (members.length === 1) return least;
  return { ...(members.includes(stranger) ? stranger : least), isOneOf: true };
}
