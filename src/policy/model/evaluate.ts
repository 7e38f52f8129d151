import type { NamedPort, PodEntity } from './entity.ts';
import { holds, type Known } from './matcher.ts';
import type { Direction, Peer, Policy, Rule, Tier } from './policy.ts';
import { carries, type Flow } from './traffic.ts';

/** A connection from one of its ends: the pod that the policies are about, and the other end. */
export type Connection = {
  readonly pod: PodEntity;
  readonly own: Known;
  readonly peer: Known;
  readonly flow: Flow;
};

export type RuleOf = { readonly tier: Tier; readonly policy: Policy; readonly rule: Rule };

/** Why a connection is allowed or denied in one direction. */
export type Reason =
  | ({ readonly kind: 'rule' } & RuleOf)
  /** The tier denies what its policies, which select the pod, do not allow. */
  | { readonly kind: 'isolated'; readonly tier: Tier; readonly policies: readonly Policy[] }
  | { readonly kind: 'no-policy' };

export type Evaluation = {
  readonly verdict: 'allow' | 'deny';
  readonly reason: Reason;
  /** The rules on the way that match and go on: those that log or pass. */
  readonly passed: readonly RuleOf[];
};

/**
 * Decides one direction of a connection, rule by rule: what everything else here must agree with. The tiers
 * are in order.
 */
export function evaluate(tiers: readonly Tier[], direction: Direction, connection: Connection): Evaluation {
  const passed: RuleOf[] = [];
  for (const tier of tiers) {
    const policies = selecting(tier, direction, connection.pod);
    if (policies.length === 0) continue;
    const found = firstOf(tier, policies, direction, connection, passed);
    if (found?.rule.action === 'pass') continue;
    if (found) {
      const verdict = found.rule.action === 'allow' ? 'allow' : 'deny';
      return { verdict, reason: { kind: 'rule', ...found }, passed };
    }
    if (tier.otherwise === 'deny')
      return { verdict: 'deny', reason: { kind: 'isolated', tier, policies }, passed };
  }
  return { verdict: 'allow', reason: { kind: 'no-policy' }, passed };
}

/** The policies of a tier that say something about a pod in a direction. */
export function selecting(tier: Tier, direction: Direction, pod: PodEntity): readonly Policy[] {
  return tier.policies.filter((policy) => policy[direction] && !policy.staged && policy.subject.selects(pod));
}

function firstOf(
  tier: Tier,
  policies: readonly Policy[],
  direction: Direction,
  connection: Connection,
  passed: RuleOf[],
): RuleOf | undefined {
  for (const policy of policies) {
    for (const rule of policy[direction] ?? []) {
      if (!matches(rule, direction, connection)) continue;
      const found = { tier, policy, rule };
      if (rule.action === 'allow' || rule.action === 'deny') return found;
      passed.push(found);
      if (rule.action === 'pass') return found;
    }
  }
  return undefined;
}

function matches({ own, peers, traffic }: Rule, direction: Direction, connection: Connection): boolean {
  const { pod, peer, flow } = connection;
  const named = direction === 'egress' ? portsOf(peer) : pod.ports;
  return (
    (own === undefined || isPeer(own, connection.own)) &&
    (peers === undefined || peers.some((each) => isPeer(each, peer))) &&
    (traffic === undefined || traffic.some((each) => carries(each, flow, named)))
  );
}

/** Whether all that a rule says of one end of a connection holds. */
export function isPeer({ are, areNot }: Peer, known: Known): boolean {
  return are.every((matcher) => holds(matcher, known)) && !areNot.some((matcher) => holds(matcher, known));
}

/** The named ports at an address. */
export function portsOf({ entities }: Pick<Known, 'entities'>): readonly NamedPort[] {
  return entities.flatMap((entity) => (entity.kind === 'pod' ? entity.ports : []));
}
