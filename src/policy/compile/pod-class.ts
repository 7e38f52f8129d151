import type { Family } from '../../ip/address.ts';
import type { RuleOf } from '../model/evaluate.ts';
import type { Direction, Policy, Rule, Tier } from '../model/policy.ts';
import { decide, type Matching, type Weighed } from './decisions.ts';
import { type Effect, is } from './effects.ts';
import type { Scope } from './excess.ts';
import { portTexts, type Traits } from './identities.ts';

/** The policies of a tier that are about a pod in some direction; at least one. */
export type Selected = { readonly tier: Tier; readonly policies: readonly Policy[] };

/** A rule, its tier's place and its own among all rules. */
type Placed = RuleOf & { readonly tierIndex: number; readonly place: number };

/** Pods that the same policies are about, and that are the same to their rules: they share decisions. */
export class PodClass {
  /**
   * The namespace whose policies are about them, if any are: it is theirs, and what the cluster's policies
   * mean for others must not depend on it.
   */
  readonly scope: Scope;
  /** Whether they may have no connections but those that policies allow. */
  readonly isIsolated: boolean;
  readonly #direction: Direction;
  readonly #selected: readonly Selected[];
  readonly #own: Traits;
  /** The rules that are about everyone. */
  readonly #always: readonly Placed[];
  readonly #byRule: ReadonlyMap<Rule, readonly Placed[]>;
  readonly #decisions: Readonly<Record<Family, WeakMap<Effect, Weighed>>> = {
    4: new WeakMap(),
    6: new WeakMap(),
  };
  /** Addresses to which the same of these rules are about, by those rules. */
  readonly #byMatching = new Map<string, Weighed>();

  constructor(direction: Direction, selected: readonly Selected[], own: Traits) {
    this.#direction = direction;
    this.#selected = selected;
    this.#own = own;
    this.isIsolated = selected.some(({ tier }) => tier.otherwise === 'deny');
    const rules = selected
      .flatMap(({ tier, policies }, tierIndex) =>
        policies.flatMap((policy) =>
          (policy[direction] ?? []).map((rule) => ({ tier, policy, rule, tierIndex })),
        ),
      )
      .map((each, place) => ({ ...each, place }));
    const policies = selected.flatMap((each) => each.policies);
    this.scope = policies.find(({ namespace }) => namespace !== undefined)?.namespace;
    const holding = rules.filter(({ rule }) => rule.own === undefined || is(rule.own, own.are));
    this.#always = holding.filter(({ rule }) => rule.peers === undefined);
    this.#byRule = Map.groupBy(holding, ({ rule }) => rule);
  }

  /** The rules that may be about it. */
  get rules(): Iterable<Rule> {
    return this.#byRule.keys();
  }

  /** Whatever else is different about addresses: the same object for those that the same rules are about. */
  decisions(family: Family, peer: Effect): Weighed {
    const known = this.#decisions[family].get(peer);
    if (known) return known;
    const rules = this.#rulesAbout(peer);
    const ports = this.#direction === 'egress' ? portTexts(peer.ports) : [];
    const key = [family, rules.map(({ place }) => place).join(), ...ports].join(' ');
    const decided = this.#byMatching.get(key) ?? this.#decide(family, rules, peer);
    this.#byMatching.set(key, decided);
    this.#decisions[family].set(peer, decided);
    return decided;
  }

  #decide(family: Family, rules: readonly Placed[], peer: Effect): Weighed {
    const byTier = Map.groupBy(rules, ({ tierIndex }) => tierIndex);
    const matching = this.#selected.map((of, i): Matching => ({ ...of, rules: byTier.get(i) ?? [] }));
    return decide({ direction: this.#direction, family, matching, own: this.#own, peer });
  }

  /** The rules that may concern connections with such an address, in order. */
  #rulesAbout({ rules }: Effect): readonly Placed[] {
    const found = [...this.#always];
    for (const rule of rules) for (const each of this.#byRule.get(rule) ?? []) found.push(each);
    return found.sort((a, b) => a.place - b.place);
  }
}
