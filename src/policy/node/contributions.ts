import { type LocalPod, podTitle } from '../../cluster/node.ts';
import { fnv32 } from '../../ip/fnv.ts';
import type { Contribution } from '../../state/contributions.ts';
import { equal } from '../../state/kind.ts';
import { type NftElementItem, nftElement } from '../../state/kinds/nft-element.ts';
import { type Compiled, compilePolicies } from '../compile/compile.ts';
import type { PolicyFacts } from '../compile/facts.ts';
import { Memory } from '../compile/memory.ts';
import type { PolicyView } from '../model/view.ts';
import { SubjectFinder, type Subjects } from './subjects.ts';

/** How many contributions the directory of a cluster is divided into: a change concerns one of them. */
const PARTS = 64;

export type NodePolicies = {
  readonly contributions: readonly Contribution[];
  /** Pods that the store does not know yet. */
  readonly waiting: readonly LocalPod[];
  readonly compiled: Compiled;
  /** This node's pods as they were compiled. */
  readonly subjects: Subjects['subjects'];
  /** The cluster, with this node's pods as they are here. */
  readonly cluster: Pick<PolicyFacts, 'tiers' | 'entities' | 'names'>;
  readonly logging: PolicyFacts['logging'];
};

/** What a node holds for its policies: what has not changed since the last call stays the same objects. */
export class PolicyPart {
  readonly #finder = new SubjectFinder();
  readonly #memory = new Memory();
  #directory: readonly Contribution[] = [];
  #tables: Contribution | undefined;
  #pods = new WeakMap<LocalPod, Contribution>();

  of(
    pods: readonly LocalPod[],
    view: PolicyView,
    node: Pick<PolicyFacts, 'subnets' | 'families' | 'devices' | 'bridge' | 'logging'>,
  ): NodePolicies {
    const { subjects, waiting, entities } = this.#finder.find(pods, view);
    const cluster = { tiers: view.tiers, entities: [...entities, ...view.others], names: new Map() };
    const compiled = compilePolicies({ ...node, ...cluster, subjects: [...subjects.values()] }, this.#memory);
    const { tables, directory } = compiled;
    this.#tables = reuse(this.#tables, {
      owner: { part: 'policy', name: 'this node' },
      items: tables,
      warnings: [],
    });
    this.#directory = divide(directory).map((items, i) =>
      reuse(this.#directory[i], {
        owner: { part: 'policy', name: 'who is who', id: `${i}` },
        items,
        warnings: [],
      }),
    );
    const own = [...subjects].map(([pod, { pod: entity }]) => {
      const items = compiled.pods.get(entity)?.items ?? [];
      const made = reuse(this.#pods.get(pod), {
        owner: { part: 'policy', name: podTitle(pod), id: `${pod.containerId} ${pod.ifName}` },
        items,
        warnings: [],
      });
      this.#pods.set(pod, made);
      return made;
    });
    const contributions = [this.#tables, ...this.#directory, ...own];
    return { contributions, waiting, compiled, subjects, cluster, logging: node.logging };
  }
}

function divide(items: readonly NftElementItem[]): readonly NftElementItem[][] {
  const parts = Array.from({ length: PARTS }, (): NftElementItem[] => []);
  for (const item of items) parts[fnv32(nftElement.key(item)) % PARTS]?.push(item);
  return parts;
}

function reuse(last: Contribution | undefined, next: Contribution): Contribution {
  return last && equal(last, next) ? last : next;
}
