import type { NetworkSetEntity } from './model/entity.ts';
import type { Matcher } from './model/matcher.ts';
import { DIRECTIONS, type Peer, type Policy, type Rule } from './model/policy.ts';

/** A network set of which some networks cannot be read. */
export type LostParts = {
  readonly set: NetworkSetEntity;
  readonly problem: string;
  /** Its labels cannot be read, either. */
  readonly isUnknown?: boolean;
};

/**
 * Whether a policy may let through what it would not, were the whole set known. What a namespace's set lacks
 * is its own policies' business: to others it is what its author has left out.
 */
export function mayOpen({ namespace, ...policy }: Policy, lost: LostParts): boolean {
  const { set } = lost;
  if (set.namespace !== undefined && set.namespace !== namespace) return false;
  return DIRECTIONS.some((direction) => policy[direction]?.some((rule) => needs(rule, lost)));
}

function needs({ action, peers = [], own }: Rule, { set, isUnknown = false }: LostParts): boolean {
  const selects = (matchers: readonly Matcher[]): boolean =>
    matchers.some((matcher) => matcher.kind === 'labelled' && (isUnknown || matcher.selects(set)));
  const isNeededBy = ({ are, areNot }: Peer): boolean =>
    (action !== 'allow' && selects(are)) || (action !== 'deny' && selects(areNot));
  return action !== 'log' && [...peers, ...(own ? [own] : [])].some(isNeededBy);
}
