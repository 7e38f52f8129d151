import type { NodePolicies } from '../../policy/node/contributions.ts';
import type { InForce } from '../../policy/observe/in-force.ts';
import type { Change } from '../../state/item.ts';
import { showPolicies } from './show.ts';

/** What is in force for a pod, and since when that is counted. */
export type PoliciesShown = {
  readonly interfaces: readonly InForce[];
  /** When this agent last wrote the tables, with new counters. Absent: it has found them as they are. */
  readonly written?: string;
};

/** Sees this node's policies at work. */
export class PolicyWatch {
  readonly #node: () => NodePolicies | undefined;
  #written: Date | undefined;

  /** `node`: what is in force now. */
  constructor(node: () => NodePolicies | undefined) {
    this.#node = node;
  }

  /** Learns what has been changed in the kernel. */
  done(changes: readonly Change[]): void {
    const tables = this.#node()?.compiled.tables ?? [];
    const isOne = ({ item }: Change): boolean =>
      item.kind === 'nft-table' && tables.some(({ table }) => table === item.table);
    if (changes.some(isOne)) this.#written = new Date();
  }

  /** Throws like `showPolicies`. */
  async show(pod: string): Promise<PoliciesShown> {
    const interfaces = await showPolicies(this.#node(), pod);
    return { interfaces, ...(this.#written && { written: this.#written.toISOString() }) };
  }
}
