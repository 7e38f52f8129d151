import type { Ip } from '../../ip/address.ts';
import type { Decided } from '../compile/lane.ts';
import type { Differing } from '../compile/staged/judge.ts';
import type { PodEntity } from '../model/entity.ts';
import {
  type Action,
  DIRECTIONS,
  type Direction,
  type Policy,
  policyText,
  type Tier,
} from '../model/policy.ts';
import { type Count, type Counters, ruleCounts } from './counts.ts';
import { type NameInForce, namesInForce } from './names.ts';
import { peersText, trafficText } from './rule-text.ts';
import { NOTHING_STAGED, type StagedCount, stagedCounts } from './staged.ts';

/** What is in force for a pod. */
export type InForce = {
  /** `default/web`. */
  readonly pod: string;
  readonly addresses: readonly Ip[];
  readonly directions: readonly DirectionInForce[];
  /** What domain names in its rules stand for. Absent: it has no such rules. */
  readonly names?: readonly NameInForce[];
};

export type DirectionInForce = {
  readonly direction: Direction;
  /** Policies because of which the pod may have no connections but those that some rule allows. */
  readonly isolatedBy: readonly string[];
  /** Denied because no rule allows it. */
  readonly denied: Count;
  /** What rules have decided that are too many to be counted apart: their own counts lack it. */
  readonly together?: Count;
  /** What the staged policies that matter to the pod would decide otherwise. */
  readonly staged: readonly (StagedCount & { readonly policy: string })[];
  /** In order; those whose policies are about the pod. */
  readonly tiers: readonly TierInForce[];
};

export type TierInForce = {
  readonly name: string;
  readonly otherwise: Tier['otherwise'];
  /** In order. */
  readonly policies: readonly PolicyInForce[];
};

export type PolicyInForce = {
  readonly policy: string;
  /** It cannot be read, and only closes its pods. */
  readonly isUnreadable?: true;
  /** It is staged, and decides nothing. */
  readonly isStaged?: true;
  /** In order. */
  readonly rules: readonly RuleInForce[];
};

export type RuleInForce = {
  readonly name: string;
  readonly action: Action;
  /** Any of these. */
  readonly peers: readonly string[];
  readonly traffic: readonly string[];
  /** Absent where nothing is counted: of rules that pass, and of staged policies. */
  readonly count?: Count;
};

/** A pod's elements that count. */
export type Counting = {
  readonly decided: readonly Decided[];
  /** Of staged policies. */
  readonly differing: readonly Differing[];
};

/**
 * Says what is in force for a pod, and what came of it so far. `tiers`: all, in order; `known`: the names of
 * each address.
 */
export function inForce(
  tiers: readonly Tier[],
  pod: PodEntity,
  known: ReadonlyMap<Ip, readonly string[]>,
  counting: Counting,
  counters: Counters,
): InForce {
  const names = namesInForce(tiers, pod, known);
  return {
    pod: pod.namespace === '' ? pod.name : `${pod.namespace}/${pod.name}`,
    addresses: pod.addresses,
    directions: DIRECTIONS.map((direction) => ofDirection(direction, tiers, pod, counting, counters)),
    ...(names && { names }),
  };
}

function ofDirection(
  direction: Direction,
  tiers: readonly Tier[],
  pod: PodEntity,
  { decided, differing }: Counting,
  counters: Counters,
): DirectionInForce {
  const counts = ruleCounts(direction, pod, decided, counters);
  const about = tiers
    .map((tier) => ({
      ...tier,
      policies: tier.policies.filter((policy) => policy[direction] && policy.subject.selects(pod)),
    }))
    .filter(({ policies }) => policies.length > 0);
  const staged = new Map([
    ...about.flatMap(({ policies }) => policies.filter(isToBe).map(asUnused)),
    ...stagedCounts(direction, differing, counters),
  ]);
  const isolating = about.filter(({ otherwise }) => otherwise === 'deny').flatMap(({ policies }) => policies);
  return {
    direction,
    isolatedBy: isolating.filter(({ staged }) => !staged).map(policyText),
    denied: counts.isolated,
    ...(counts.together && { together: counts.together }),
    staged: [...staged].map(([policy, count]) => ({ policy, ...count })),
    tiers: about.map(({ name, otherwise, policies }) => ({
      name,
      otherwise,
      policies: policies.map((policy) => ofPolicy(policy, direction, counts)),
    })),
  };
}

function isToBe({ staged }: Policy): boolean {
  return staged !== undefined && staged.action !== 'ignore';
}

function asUnused(policy: Policy): readonly [string, StagedCount] {
  return [policyText(policy), NOTHING_STAGED];
}

function ofPolicy(
  policy: Policy,
  direction: Direction,
  counts: ReturnType<typeof ruleCounts>,
): PolicyInForce {
  const { staged, isUnreadable } = policy;
  return {
    policy: policyText(policy),
    ...(isUnreadable && { isUnreadable }),
    ...(staged && { isStaged: true }),
    rules: (policy[direction] ?? []).map((rule) => ({
      name: rule.name,
      action: rule.action,
      peers: peersText(rule),
      traffic: trafficText(rule),
      ...(!staged && rule.action !== 'pass' && { count: counts.of(rule) }),
    })),
  };
}
