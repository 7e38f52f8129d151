import type { PodEntity } from '../model/entity.ts';
import { selecting } from '../model/evaluate.ts';
import type { EntityMatcher } from '../model/matcher.ts';
import type { Direction, Policy, Tier } from '../model/policy.ts';
import { type Effect, Effects } from './effects.ts';
import { type Scope, withoutExcess } from './excess.ts';
import { Identities, type Traits } from './identities.ts';
import { ownQuestionsOf, type Questions, questionsOf } from './matchers.ts';
import { PodClass, type Selected } from './pod-class.ts';
import { Selection } from './selection.ts';

/** What need not be found again in the next compilation. Nothing depends on it. */
export class Memory {
  readonly ingress = new JudgeMemory('ingress');
  readonly egress = new JudgeMemory('egress');
  readonly #closed = new WeakMap<readonly Tier[], Map<string, readonly Tier[]>>();
  #after: Memory | undefined;

  /** Of what is computed instead, where the same with other tiers is too much. */
  get after(): Memory {
    this.#after ??= new Memory();
    return this.#after;
  }

  /** The same object for the same tiers and scopes. */
  closed(of: readonly Tier[], scopes: ReadonlySet<Scope>): readonly Tier[] {
    const key = JSON.stringify([...scopes].map((scope) => scope ?? null));
    const known = this.#closed.get(of) ?? new Map<string, readonly Tier[]>();
    this.#closed.set(of, known);
    const tiers = known.get(key) ?? withoutExcess(of, scopes);
    known.set(key, tiers);
    return tiers;
  }
}

export class JudgeMemory {
  readonly #direction: Direction;
  readonly #selected = new Last<readonly Tier[], OfTiers>();
  readonly #selections = { own: new Last<string, Selection>(), peer: new Last<string, Selection>() };
  readonly #own = new Last<string, Identities<Traits>>();
  readonly #peers = new Last<string, Identities<Effect>>();
  readonly #ids = new WeakMap<Policy, number>();
  #count = 0;

  constructor(direction: Direction) {
    this.#direction = direction;
  }

  /** The tiers whose policies are about a pod, with these: the same object for the same ones. */
  selected(pod: PodEntity, tiers: readonly Tier[]): readonly Selected[] {
    const { byPod, byPolicies } = this.#selected.of(tiers, () => new OfTiers());
    const known = byPod.get(pod);
    if (known) return known;
    const found = tiers.flatMap((tier) => {
      const policies = selecting(tier, this.#direction, pod);
      return policies.length > 0 ? [{ tier, policies }] : [];
    });
    const key = this.#idsOf(found);
    const interned = byPolicies.get(key) ?? found;
    byPolicies.set(key, interned);
    byPod.set(pod, interned);
    return interned;
  }

  classOf(selected: readonly Selected[], own: Traits, tiers: readonly Tier[]): PodClass {
    const { classes } = this.#selected.of(tiers, () => new OfTiers());
    const byOwn = classes.get(selected) ?? new Map<string, PodClass>();
    classes.set(selected, byOwn);
    const known = byOwn.get(own.key) ?? new PodClass(this.#direction, selected, own);
    byOwn.set(own.key, known);
    return known;
  }

  /** Tells the pods apart that these policies are about. */
  own(used: readonly Tier[]): Identities<Traits> {
    return this.#own.of(this.#idsOf(used), () => {
      const questions = ownQuestionsOf(used, this.#direction);
      return new Identities(questions, this.#selection('own', questions), (traits) => traits);
    });
  }

  /** Tells the other ends of their connections apart. */
  peers(used: readonly Tier[]): Identities<Effect> {
    return this.#peers.of(this.#idsOf(used), () => {
      const questions = questionsOf(used, this.#direction);
      const effects = new Effects(used, this.#direction);
      return new Identities(questions, this.#selection('peer', questions), (traits) => effects.of(traits));
    });
  }

  /** The same as long as the same is asked: conditions of one text are one condition. */
  #selection(whose: 'own' | 'peer', { matchers }: Questions): Selection {
    const asked = [...matchers.values()]
      .filter((matcher): matcher is EntityMatcher => 'selects' in matcher)
      .toSorted((a, b) => (a.text < b.text ? -1 : 1));
    const key = asked.map(({ text }) => text).join('\n');
    return this.#selections[whose].of(key, () => new Selection(asked));
  }

  /** Two policies may have one name, in different tiers. */
  #idsOf(tiers: readonly { readonly policies: readonly Policy[] }[]): string {
    return tiers.map(({ policies }) => policies.map((policy) => this.#idOf(policy)).join()).join(';');
  }

  #idOf(policy: Policy): number {
    const id = this.#ids.get(policy) ?? this.#count++;
    this.#ids.set(policy, id);
    return id;
  }
}

/** What follows from the tiers. */
class OfTiers {
  readonly byPod = new WeakMap<PodEntity, readonly Selected[]>();
  readonly byPolicies = new Map<string, readonly Selected[]>();
  readonly classes = new Map<readonly Selected[], Map<string, PodClass>>();
}

/** Remembers the last result. */
class Last<K, V> {
  #last: { readonly key: K; readonly value: V } | undefined;

  of(key: K, make: () => V): V {
    if (this.#last?.key !== key) this.#last = { key, value: make() };
    return this.#last.value;
  }
}
