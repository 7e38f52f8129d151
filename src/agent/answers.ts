import { configuredBackend } from '../backends/registry.ts';
import type { Network } from '../cluster/network.ts';
import type { Node } from '../cluster/node.ts';
import type { Miss, Resolve } from '../state/kinds/fdb.ts';
import type { Facts } from './facts.ts';

/** Answers the kernel's misses on tunnels, with a resolver that is rebuilt when the cluster changes. */
export class Answers {
  readonly #facts: Facts;
  #resolver: { network: Network; nodes: readonly Node[]; resolve: Resolve | undefined } | undefined;

  constructor(facts: Facts) {
    this.#facts = facts;
  }

  to(miss: Miss): ReturnType<Resolve> {
    const { network, nodes, resources } = this.#facts;
    if (!network || !nodes) return [];
    if (this.#resolver?.nodes !== nodes || this.#resolver.network !== network) {
      const { backend, options } = configuredBackend(network, resources);
      this.#resolver = { network, nodes, resolve: backend.resolver?.(nodes, options) };
    }
    return this.#resolver.resolve?.(miss) ?? [];
  }
}
