import type { SourceRules } from '../cluster/allowed-sources.ts';
import type { Network } from '../cluster/network.ts';
import type { LocalPod, Node, Self } from '../cluster/node.ts';
import type { Resources } from '../cluster/resources.ts';
import type { Contribution } from '../state/contributions.ts';
import { equal } from '../state/kind.ts';
import type { NodePart } from './node-part.ts';

/** Results that `desiredState` reuses between calls: unchanged parts stay the same objects. */
export class Memo {
  readonly pods = new Each<LocalPod, Contribution>();
  readonly sources = new Each<LocalPod, LocalPod>();
  readonly strays = new Each<LocalPod, readonly string[]>();
  readonly peers = new Each<Node, Contribution>();
  #rules: { facts: readonly unknown[]; rules: SourceRules } | undefined;
  #wiring: Contribution | undefined;
  #guard: Contribution | undefined;
  #node: { network: Network; self: Self; resources: Resources; part: NodePart } | undefined;

  /**
   * Calls `make` only if a fact has changed. A contribution becomes a new object only if its content differs.
   */
  node(network: Network, self: Self, resources: Resources, make: () => NodePart): NodePart {
    const last = this.#node;
    if (last?.network === network && last.resources === resources && equal(last.self, self)) return last.part;
    const computed = make();
    const part: NodePart = {
      ...computed,
      backend: reuse(last?.part.backend, computed.backend),
      masquerade: reuse(last?.part.masquerade, computed.masquerade),
    };
    this.#node = { network, self, resources, part };
    return part;
  }

  /** Calls `make` only if one of the facts is a new object. */
  sourceRules(facts: readonly unknown[], make: () => SourceRules): SourceRules {
    const last = this.#rules;
    if (last && facts.every((fact, i) => fact === last.facts[i])) return last.rules;
    const rules = make();
    this.#rules = { facts, rules };
    return rules;
  }

  guard(computed: Contribution): Contribution {
    this.#guard = reuse(this.#guard, computed);
    return this.#guard;
  }

  wiring(computed: Contribution): Contribution {
    this.#wiring = reuse(this.#wiring, computed);
    return this.#wiring;
  }
}

/** Caches one result per fact, valid while the fact is the same object and `context` the same text. */
export class Each<Fact extends object, Result> {
  #context = '';
  #byFact = new WeakMap<Fact, Result>();
  #last: { facts: readonly Fact[]; results: readonly Result[] } | undefined;

  of(facts: readonly Fact[], context: string, make: (fact: Fact) => Result): readonly Result[] {
    if (context !== this.#context) {
      this.#context = context;
      this.#byFact = new WeakMap();
      this.#last = undefined;
    }
    if (this.#last?.facts !== facts) {
      const results = facts.map((fact) => {
        const known = this.#byFact.get(fact);
        if (known) return known;
        const computed = make(fact);
        this.#byFact.set(fact, computed);
        return computed;
      });
      this.#last = { facts, results };
    }
    return this.#last.results;
  }
}

function reuse(last: Contribution | undefined, computed: Contribution): Contribution {
  return last && equal(last, computed) ? last : computed;
}
