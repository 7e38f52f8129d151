import type { Network } from '../cluster/network.ts';
import type { LocalPod, Node, Self } from '../cluster/node.ts';
import type { Resources } from '../cluster/resources.ts';
import type { Contribution } from '../state/contributions.ts';
import { equal } from '../state/kind.ts';
import type { NodePart } from './node-part.ts';

/** What `desiredState` remembers between calls: whatever has not changed is the same object again. */
export class Memo {
  readonly pods = new Each<LocalPod>();
  readonly peers = new Each<Node>();
  #wiring: Contribution | undefined;
  #node: { network: Network; self: Self; resources: Resources; part: NodePart } | undefined;

  /**
   * `make` is called only if a fact has changed, and a contribution becomes a new object only if its content
   * differs.
   */
  node(network: Network, self: Self, resources: Resources, make: () => NodePart): NodePart {
    const last = this.#node;
    if (last?.network === network && last.resources === resources && equal(last.self, self)) return last.part;
    const made = make();
    const part: NodePart = {
      ...made,
      backend: kept(last?.part.backend, made.backend),
      masquerade: kept(last?.part.masquerade, made.masquerade),
    };
    this.#node = { network, self, resources, part };
    return part;
  }

  wiring(made: Contribution): Contribution {
    this.#wiring = kept(this.#wiring, made);
    return this.#wiring;
  }
}

/**
 * One contribution for each of many facts, for as long as the fact is the same object and `context` the same
 * text.
 */
class Each<Fact extends object> {
  #context = '';
  #byFact = new WeakMap<Fact, Contribution>();
  #last: { facts: readonly Fact[]; contributions: readonly Contribution[] } | undefined;

  of(facts: readonly Fact[], context: string, make: (fact: Fact) => Contribution): readonly Contribution[] {
    if (context !== this.#context) {
      this.#context = context;
      this.#byFact = new WeakMap();
      this.#last = undefined;
    }
    if (this.#last?.facts !== facts) {
      const contributions = facts.map((fact) => {
        const known = this.#byFact.get(fact);
        if (known) return known;
        const made = make(fact);
        this.#byFact.set(fact, made);
        return made;
      });
      this.#last = { facts, contributions };
    }
    return this.#last.contributions;
  }
}

function kept(last: Contribution | undefined, made: Contribution): Contribution {
  return last && equal(last, made) ? last : made;
}
