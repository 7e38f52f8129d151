import type { Reason, RuleOf } from '../model/evaluate.ts';
import { policyText } from '../model/policy.ts';

/** What becomes of a connection, and why. Those of the same key are the same to a pod. */
export type Outcome = {
  readonly key: string;
  readonly verdict: 'allow' | 'deny';
  readonly reason: Reason;
  /** The rules that write the connection down. */
  readonly logs: readonly RuleOf[];
  /** It may be others of the rules that decide so: there are too many to tell which. */
  readonly isOneOf?: true;
};

export function outcomeOf(verdict: Outcome['verdict'], reason: Reason, logs: readonly RuleOf[]): Outcome {
  // The policies that isolate a pod are always all of their tier that are about it, and may be many.
  const why = reason.kind === 'isolated' ? `isolated by ${reason.tier.name}` : reasonText(reason);
  const key = [verdict, why, ...logs.map(ruleText)].join(' | ');
  return { key, verdict, reason, logs };
}

/** `NetworkPolicy default/web ingress[0]`, `isolated by NetworkPolicy default/web`, `no policy`. */
export function reasonText(reason: Reason): string {
  switch (reason.kind) {
    case 'rule':
      return ruleText(reason);
    case 'isolated':
      return `isolated by ${reason.policies.map(policyText).join(', ')}`;
    case 'no-policy':
      return 'no policy';
  }
}

function ruleText({ policy, rule }: RuleOf): string {
  return `${policyText(policy)} ${rule.name}`;
}
