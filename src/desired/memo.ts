import type { SourceRules } from '../cluster/allowed-sources.ts';
import type { Network } from '../cluster/network.ts';
import type { LocalPod, Node, Self } from '../cluster/node.ts';
import type { Resources } from '../cluster/resources.ts';
import type { Ip } from '../ip/address.ts';
import { PolicyPart } from '../policy/node/contributions.ts';
import type { Contribution } from '../state/contributions.ts';
import { equal } from '../state/kind.ts';
import type { Basis } from './basis.ts';
import type { NodePart } from './node-part.ts';

/** Results that `desiredState` reuses between calls: unchanged parts stay the same objects. */
export class Memo {
  readonly pods = new Each<LocalPod, Contribution>();
  readonly sources = new Each<LocalPod, LocalPod>();
  readonly attachments = new Each<LocalPod, string>();
  readonly strays = new Each<LocalPod, readonly Ip[]>();
  readonly peers = new Each<Node, Contribution>();
  readonly policies = new PolicyPart();
  #offload: Contribution | undefined;
  #rules: { facts: readonly unknown[]; rules: SourceRules } | undefined;
  #basis: { network: Network; self: Self; resources: Resources; basis: Basis } | undefined;
  #node: { network: Network; self: Self; resources: Resources; part: NodePart } | undefined;
  #shared: { basis: Basis; attachments: string; contributions: readonly Contribution[] } | undefined;

  /** Calls `make` only if a fact is a new object. */
  basis(network: Network, self: Self, resources: Resources, make: () => Basis): Basis {
    const last = this.#basis;
    if (last?.network === network && last.self === self && last.resources === resources) return last.basis;
    const basis = make();
    this.#basis = { network, self, resources, basis };
    return basis;
  }

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
      hostPorts: reuse(last?.part.hostPorts, computed.hostPorts),
    };
    this.#node = { network, self, resources, part };
    return part;
  }

  /** The last contribution again, unless the content differs. */
  offload(next: Contribution): Contribution {
    this.#offload = reuse(this.#offload, next);
    return this.#offload;
  }

  /** Calls `make` only if one of the facts is a new object. */
  sourceRules(facts: readonly unknown[], make: () => SourceRules): SourceRules {
    const last = this.#rules;
    if (last && facts.every((fact, i) => fact === last.facts[i])) return last.rules;
    const rules = make();
    this.#rules = { facts, rules };
    return rules;
  }

  /**
   * What the node holds for its pods together: calls `make` only if the basis changes, or the ways in which
   * pods are attached. A contribution becomes a new object only if its content differs.
   */
  shared(
    basis: Basis,
    attachments: readonly string[],
    make: () => readonly Contribution[],
  ): readonly Contribution[] {
    const last = this.#shared;
    const kinds = [...new Set(attachments)].sort().join();
    if (last?.basis === basis && last.attachments === kinds) return last.contributions;
    const contributions = make().map((each, i) => reuse(last?.contributions[i], each));
    this.#shared = { basis, attachments: kinds, contributions };
    return contributions;
  }
}

/** Caches one result per fact, valid while the fact is the same object and `context` the same text. */
export class Each<Fact extends object, Result> {
  #context = '';
  #byFact = new WeakMap<Fact, Result>();
  #last: { facts: readonly Fact[]; results: readonly Result[] } | undefined;

  of(facts: readonly Fact[], context: string, make: (fact: Fact) => Result): readonly Result[] {
    this.#enter(context);
    if (this.#last?.facts !== facts) {
      const results = facts.map((fact) => this.#get(fact, make));
      this.#last = { facts, results };
    }
    return this.#last.results;
  }

  one(fact: Fact, context: string, make: (fact: Fact) => Result): Result {
    this.#enter(context);
    return this.#get(fact, make);
  }

  /** Once for all facts: the text may be long. */
  #enter(context: string): void {
    if (context === this.#context) return;
    this.#context = context;
    this.#byFact = new WeakMap();
    this.#last = undefined;
  }

  #get(fact: Fact, make: (fact: Fact) => Result): Result {
    const known = this.#byFact.get(fact);
    if (known !== undefined) return known;
    const computed = make(fact);
    this.#byFact.set(fact, computed);
    return computed;
  }
}

function reuse(last: Contribution | undefined, computed: Contribution): Contribution {
  return last && equal(last, computed) ? last : computed;
}
