import type { NftElementItem } from '../../../state/kinds/nft-element.ts';
import type { NftTableItem } from '../../../state/kinds/nft-table.ts';
import type { PodEntity } from '../../model/entity.ts';
import type { Tier } from '../../model/policy.ts';
import { enforced } from '../../model/staged.ts';
import { Excess } from '../excess.ts';
import type { PolicyFacts } from '../facts.ts';
import { scopesOf } from '../sets.ts';
import { type Differing, StagedJudge, StagedMemory } from './judge.ts';
import { stagedTable } from './table.ts';

export type CompiledStaged = {
  readonly tables: readonly NftTableItem[];
  /** Who addresses are. */
  readonly directory: readonly NftElementItem[];
  /** What is counted of pods; only those for which staged policies would make a difference. */
  readonly pods: ReadonlyMap<PodEntity, readonly Differing[]>;
};

/** Computes what counts the connections that staged policies would decide otherwise. */
export class StagedCompiler {
  readonly #memory = { ingress: new StagedMemory('ingress'), egress: new StagedMemory('egress') };
  #enforced: { readonly of: readonly Tier[]; readonly tiers: readonly Tier[] } | undefined;

  /** Undefined where none would make a difference to this node's pods. */
  compile(facts: PolicyFacts): CompiledStaged | Excess | undefined {
    const enforcing = this.#enforce(facts.tiers);
    if (enforcing === facts.tiers) return undefined;
    try {
      return this.#compiled(facts, enforcing);
    } catch (error) {
      if (error instanceof Excess) return error;
      throw error;
    }
  }

  #compiled(facts: PolicyFacts, enforcing: readonly Tier[]): CompiledStaged | undefined {
    const [ingress, egress] = [
      new StagedJudge('ingress', facts, enforcing, this.#memory.ingress),
      new StagedJudge('egress', facts, enforcing, this.#memory.egress),
    ];
    const judges = [ingress, egress];
    if (judges.every(({ isEmpty }) => isEmpty)) return undefined;
    const differing = facts.subjects.map(
      ({ pod }) => [pod, judges.flatMap((judge) => judge.differing(pod))] as const,
    );
    const shape = {
      peers: { ingress: ingress.peers, egress: egress.peers },
      scopes: scopesOf(differing.flatMap(([, all]) => all.map(({ item }) => item))),
    };
    return {
      tables: facts.families.map((family) => stagedTable(shape, family)),
      directory: judges.flatMap((judge) => judge.directory()),
      pods: new Map(differing.filter(([, all]) => all.length > 0)),
    };
  }

  /** The same object for the same tiers. */
  #enforce(tiers: readonly Tier[]): readonly Tier[] {
    if (this.#enforced?.of !== tiers) this.#enforced = { of: tiers, tiers: enforced(tiers) };
    return this.#enforced.tiers;
  }
}
