import type { PodEntity } from '../model/entity.ts';
import { selecting } from '../model/evaluate.ts';
import type { Direction, Policy, Tier } from '../model/policy.ts';
import type { Decisions, Selected } from './decisions.ts';
import { Identities } from './identities.ts';
import type { Questions } from './matchers.ts';

/** What need not be found again in the next compilation. Nothing depends on it. */
export class Memory {
  readonly ingress = new JudgeMemory();
  readonly egress = new JudgeMemory();
}

export class JudgeMemory {
  #selected = new WeakMap<readonly Tier[], WeakMap<PodEntity, readonly Selected[]>>();
  readonly #identities = new Map<string, { readonly key: string; readonly are: Identities }>();
  readonly #ids = new WeakMap<Policy, number>();
  #count = 0;
  #decisions: { readonly tiers: readonly Tier[]; readonly all: Map<string, Decisions> } | undefined;

  /** The tiers whose policies are about a pod, with these. */
  selected(pod: PodEntity, direction: Direction, tiers: readonly Tier[]): readonly Selected[] {
    const ofTiers = this.#selected.get(tiers) ?? new WeakMap<PodEntity, readonly Selected[]>();
    this.#selected.set(tiers, ofTiers);
    const known = ofTiers.get(pod);
    if (known) return known;
    const found = tiers.flatMap((tier) => {
      const policies = selecting(tier, direction, pod);
      return policies.length > 0 ? [{ tier, policies }] : [];
    });
    ofTiers.set(pod, found);
    return found;
  }

  /** The same as long as the same is asked: conditions of one text are one condition. */
  identities(whose: 'own' | 'peer', questions: Questions): Identities {
    const key = [...[...questions.matchers.keys()].sort(), '', ...[...questions.portNames].sort()].join('\n');
    const last = this.#identities.get(whose);
    if (last?.key === key) return last.are;
    const are = new Identities(questions);
    this.#identities.set(whose, { key, are });
    return are;
  }

  /** Two policies may have one name, in different tiers. */
  idOf(policy: Policy): number {
    const id = this.#ids.get(policy) ?? this.#count++;
    this.#ids.set(policy, id);
    return id;
  }

  /** Of these tiers: others have other policies. */
  decisions(tiers: readonly Tier[], key: string, decide: () => Decisions): Decisions {
    if (this.#decisions?.tiers !== tiers) this.#decisions = { tiers, all: new Map() };
    const { all } = this.#decisions;
    const known = all.get(key) ?? decide();
    all.set(key, known);
    return known;
  }
}
