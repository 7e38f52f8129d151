import type { Policy, Tier } from '../model/policy.ts';

/** Whose policies: a namespace's; undefined: the cluster's as a whole. */
export type Scope = string | undefined;
/** How many rules of a scope are about an address, and which. */
export type Share = { readonly scope: Scope; readonly count: number; readonly key: string };

/**
 * The most that the policies of one scope may take in each direction: so a node computes it in seconds, and
 * its agent and its kernel can hold it.
 */
export type Most = {
  /**
   * Rules that are about addresses, and stretches of ports that these decide, once for all addresses and pods
   * that the same of the scope's rules are about.
   */
  readonly steps: number;
  /** Elements for its pods on this node, but for what others' policies tell apart besides. */
  readonly elements: number;
  /** Kinds of other ends: each is a chain with sets, and an element for each pod with rules about all. */
  readonly kinds: number;
  /** Kinds of other ends to all scopes together: of those of one for each of another's. */
  readonly groups: number;
  /** Scopes that are closed already, and so say nothing more than that. */
  readonly closed?: ReadonlySet<Scope>;
};

type What = Exclude<keyof Most, 'closed' | 'groups'>;

export const MOST: Most = { steps: 2_000_000, elements: 500_000, kinds: 8192, groups: 16_384 };

const WHAT = {
  steps: 'its rules about other ends, and what they decide,',
  elements: 'the elements that say it to the kernel',
  kinds: 'the other ends that its rules tell apart',
} as const satisfies Record<What, string>;

/** Says that what the policies of a scope mean for this node is too much. */
export class Excess extends Error {
  readonly scope: Scope;

  constructor(scope: Scope, problem: string) {
    super(problem);
    this.scope = scope;
  }
}

/** Counts something by scope, and throws `Excess` where it is too much. */
export class Tally {
  readonly #most: Most;
  readonly #what: What;
  readonly #counts = new Map<Scope, number>();

  constructor(what: What, most: Most) {
    this.#what = what;
    this.#most = most;
  }

  add(scope: Scope, amount: number): void {
    if (this.#most.closed?.has(scope)) return;
    const count = (this.#counts.get(scope) ?? 0) + amount;
    this.#counts.set(scope, count);
    const most = this.#most[this.#what];
    if (count > most) throw new Excess(scope, `${WHAT[this.#what]} are more than ${most}`);
  }
}

/**
 * Weighs identities as they are found, once for all that are the same to a scope's own rules: nobody has to
 * answer for what others tell apart. What it returns throws `Excess`.
 */
export function weighing(most: Most): (one: { readonly shares: readonly Share[] }) => void {
  const steps = new Tally('steps', most);
  const known = new Map<Scope, Set<string>>();
  return ({ shares }) => {
    for (const { scope, count, key } of shares) {
      const own = known.get(scope) ?? new Set();
      known.set(scope, own);
      if (own.has(key)) continue;
      own.add(key);
      steps.add(scope, count);
    }
  };
}

/** The tiers with all policies of these scopes closed, like policies that cannot be read. */
export function withoutExcess(tiers: readonly Tier[], scopes: ReadonlySet<Scope>): readonly Tier[] {
  const closed = (policy: Policy): Policy => {
    if (policy.staged || !scopes.has(policy.namespace)) return policy;
    // Those of NetworkPolicies are isolated.
    const rules = policy.kind === 'NetworkPolicy' ? [] : ([{ name: 'excessive', action: 'deny' }] as const);
    return {
      ...policy,
      ...(policy.ingress && { ingress: rules }),
      ...(policy.egress && { egress: rules }),
      isUnreadable: true,
    };
  };
  return tiers.map((tier) => ({ ...tier, policies: tier.policies.map(closed) }));
}
