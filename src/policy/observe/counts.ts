import { familyOf } from '../../ip/address.ts';
import { elementItem, elementOf, type NftElementItem, nftElement } from '../../state/kinds/nft-element.ts';
import type { Decided } from '../compile/lane.ts';
import { isolated } from '../compile/sets.ts';
import { tableOf } from '../compile/table.ts';
import type { PodEntity } from '../model/entity.ts';
import { DIRECTIONS, type Direction, type Rule } from '../model/policy.ts';

/** Packets that were looked up: a connection's first, and those that follow before it is answered. */
export type Count = { readonly packets: number; readonly bytes: number };

export const NONE: Count = { packets: 0, bytes: 0 };

/** What the kernel has counted, by the element's key. */
export type Counters = ReadonlyMap<string, Count>;

/** The elements whose counters tell what became of a pod's connections. */
export function countedItems(pod: PodEntity, decided: readonly Decided[]): readonly NftElementItem[] {
  return [
    ...decided.map(({ item }) => item),
    ...DIRECTIONS.flatMap((direction) => pod.addresses.map((ip) => isolatedItem(direction, ip))),
  ];
}

/**
 * What each rule has decided, and what no rule has: the rest, which isolation denies. `together`: what rules
 * have that are too many to be counted apart, and that `of` does not know of; absent if there are none.
 */
export type RuleCounts = {
  readonly of: (rule: Rule) => Count;
  readonly isolated: Count;
  readonly together?: Count | undefined;
};

/** Adds up the counters of a pod's elements: a rule may have several. */
export function ruleCounts(
  direction: Direction,
  pod: PodEntity,
  decided: readonly Decided[],
  counters: Counters,
): RuleCounts {
  const rules = new Map<Rule, Count>();
  let rest = NONE;
  let together: Count | undefined;
  for (const { item, outcome } of decided) {
    if (!item.set.startsWith(`${direction}-`)) continue;
    const count = counters.get(nftElement.key(item)) ?? NONE;
    const { reason, logs, isOneOf } = outcome;
    if (reason.kind === 'isolated') rest = sum(rest, count);
    const isShared = isOneOf && reason.kind === 'rule';
    if (isShared) together = sum(together ?? NONE, count);
    for (const { rule } of reason.kind === 'rule' && !isShared ? [reason, ...logs] : logs)
      rules.set(rule, sum(rules.get(rule) ?? NONE, count));
  }
  for (const ip of pod.addresses)
    rest = sum(rest, counters.get(nftElement.key(isolatedItem(direction, ip))) ?? NONE);
  return { of: (rule) => rules.get(rule) ?? NONE, isolated: rest, together };
}

export function sum(a: Count, b: Count): Count {
  return { packets: a.packets + b.packets, bytes: a.bytes + b.bytes };
}

function isolatedItem(direction: Direction, ip: PodEntity['addresses'][number]): NftElementItem {
  const family = familyOf(ip);
  return elementItem(tableOf(family), elementOf(isolated(direction, family), [ip]));
}
