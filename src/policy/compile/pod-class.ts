import type { Family } from '../../ip/address.ts';
import type { RuleOf } from '../model/evaluate.ts';
import type { Direction, Policy, Rule, Tier } from '../model/policy.ts';
import { type Decisions, decide, type Matching } from './decisions.ts';
import { type Effect, is } from './effects.ts';
import type { Traits } from './identities.ts';

/** The policies of a tier that are about a pod in some direction; at least one. */
export type Selected = { readonly tier: Tier; readonly policies: readonly Policy[] };

/** A rule, and its place among the rules of its tier. */
type Placed = RuleOf & { readonly tierIndex: number; readonly place: number };

/** Pods that the same policies are about, and that are the same to their rules: they share decisions. */
export class PodClass {
  /** Whether they may have no connections but those that policies allow. */
  readonly isIsolated: boolean;
  readonly #direction: Direction;
  readonly #selected: readonly Selected[];
  readonly #own: Traits;
  /** The rules that are about everyone. */
  readonly #always: readonly Placed[];
  readonly #byRule: ReadonlyMap<Rule, readonly Placed[]>;
  readonly #decisions: Readonly<Record<Family, WeakMap<Effect, Decisions>>> = {
    4: new WeakMap(),
    6: new WeakMap(),
  };

  constructor(direction: Direction, selected: readonly Selected[], own: Traits) {
    this.#direction = direction;
    this.#selected = selected;
    this.#own = own;
    this.isIsolated = selected.some(({ tier }) => tier.otherwise === 'deny');
    const rules = selected.flatMap(({ tier, policies }, tierIndex) =>
      policies
        .flatMap((policy) => (policy[direction] ?? []).map((rule) => ({ tier, policy, rule })))
        .map((each, place) => ({ ...each, tierIndex, place })),
    );
    const holding = rules.filter(({ rule }) => rule.own === undefined || is(rule.own, own.are));
    this.#always = holding.filter(({ rule }) => rule.peers === undefined);
    this.#byRule = Map.groupBy(holding, ({ rule }) => rule);
  }

  /** Whether an address of this effect may differ from one of none. */
  isConcernedBy({ rules, ports }: Effect): boolean {
    if (ports.length > 0) return true;
    for (const rule of rules) if (this.#byRule.has(rule)) return true;
    return false;
  }

  decisions(family: Family, peer: Effect): Decisions {
    const known = this.#decisions[family].get(peer);
    if (known) return known;
    const [direction, own] = [this.#direction, this.#own];
    const decided = decide({ direction, family, matching: this.#matching(peer), own, peer });
    this.#decisions[family].set(peer, decided);
    return decided;
  }

  /** The rules that may concern connections with such an address, in order. */
  #matching({ rules }: Effect): readonly Matching[] {
    const found = [...this.#always];
    for (const rule of rules) found.push(...(this.#byRule.get(rule) ?? []));
    const byTier = Map.groupBy(found, ({ tierIndex }) => tierIndex);
    return this.#selected.map(({ tier, policies }, i) => ({
      tier,
      policies,
      rules: (byTier.get(i) ?? []).toSorted((a, b) => a.place - b.place),
    }));
  }
}
