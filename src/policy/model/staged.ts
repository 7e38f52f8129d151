import { type Policy, policyText, type Tier } from './policy.ts';

/** The tiers as they would be if all staged policies were enforced; without any, the same object. */
export function enforced(tiers: readonly Tier[]): readonly Tier[] {
  const staged = tiers.flatMap(({ policies }) => policies.flatMap((policy) => policy.staged ?? []));
  if (staged.length === 0) return tiers;
  const replaced = new Set(
    staged.filter(({ action }) => action !== 'ignore').map(({ replaces }) => policyText(replaces)),
  );
  const become = ({ staged: plan, ...policy }: Policy): Policy[] => {
    if (plan) return plan.action === 'set' ? [policy] : [];
    return replaced.has(policyText(policy)) ? [] : [policy];
  };
  return tiers.map((tier) => ({ ...tier, policies: tier.policies.flatMap(become) }));
}
