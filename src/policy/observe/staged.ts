import { nftElement } from '../../state/kinds/nft-element.ts';
import type { Differing } from '../compile/staged/judge.ts';
import { type Direction, policyText } from '../model/policy.ts';
import { type Count, type Counters, NONE, sum } from './counts.ts';

/** What a staged policy would have decided otherwise. */
export type StagedCount = { readonly wouldDeny: Count; readonly wouldAllow: Count };

export const NOTHING_STAGED: StagedCount = { wouldDeny: NONE, wouldAllow: NONE };

/** Adds up what would be different, by the text of the policy that it is due to; of several, for each. */
export function stagedCounts(
  direction: Direction,
  differing: readonly Differing[],
  counters: Counters,
): ReadonlyMap<string, StagedCount> {
  const counts = new Map<string, StagedCount>();
  for (const { item, difference } of differing) {
    if (difference.would === undefined || !item.set.startsWith(`${direction}-`)) continue;
    const count = counters.get(nftElement.key(item)) ?? NONE;
    for (const policy of difference.by) {
      const { wouldDeny, wouldAllow } = counts.get(policyText(policy)) ?? NOTHING_STAGED;
      counts.set(
        policyText(policy),
        difference.would === 'deny'
          ? { wouldDeny: sum(wouldDeny, count), wouldAllow }
          : { wouldDeny, wouldAllow: sum(wouldAllow, count) },
      );
    }
  }
  return counts;
}
