import type { Reason } from '../model/evaluate.ts';
import { type Direction, type Policy, policyText } from '../model/policy.ts';

/** Why, in a few words, with the policy. */
export function becauseOf(reason: Reason, direction: Direction): string {
  switch (reason.kind) {
    case 'rule':
      return `${policyText(reason.policy)}, ${reason.rule.name}, ${VERBS[reason.rule.action]} it`;
    case 'isolated':
      return `${listText(reason.policies)} ${reason.policies.length === 1 ? 'isolates' : 'isolate'} the pod for ${direction}, and none of their rules allows it`;
    case 'no-policy':
      return `no policy is about the pod’s ${direction}`;
  }
}

const VERBS = { allow: 'allows', deny: 'denies', pass: 'passes', log: 'logs' } as const;

function listText(policies: readonly Policy[]): string {
  return policies.map(policyText).join(', ');
}
