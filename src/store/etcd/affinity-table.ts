import { type Claim, Claims } from '../../cluster/claims.ts';
import { ipCompare } from '../../ip/address.ts';
import { addressOf, type Cidr } from '../../ip/cidr.ts';
import type { AffinityState } from '../ports/blocks.ts';
import type { AffinityFact } from './facts.ts';
import { Multimap } from './indexes.ts';

/** Only blocks with an affinity in this state may be advertised. */
const CONFIRMED: AffinityState = 'confirmed';

/**
 * The nodes' confirmed affinities. Of two nodes' to overlapping blocks, one counts; those of a node that has
 * not joined are left over and cost no other node its block.
 */
export class AffinityTable {
  readonly #byNode = new Multimap<string, Claim>();
  readonly #claims = new Claims();
  readonly #members = new Set<string>();

  add({ kv, node, block, state }: AffinityFact): void {
    if (state !== CONFIRMED) return;
    const claim = { key: kv.key, owner: node, cidr: block, age: kv.createRevision };
    this.#byNode.add(node, claim);
    if (this.#members.has(node)) this.#claims.add(claim);
  }

  delete({ kv, node }: AffinityFact): void {
    const claim = [...this.#byNode.get(node)].find(({ key }) => key === kv.key);
    if (!claim) return;
    this.#byNode.delete(node, claim);
    this.#claims.delete(claim);
  }

  addMember(node: string): void {
    this.#members.add(node);
    for (const claim of this.#byNode.get(node)) this.#claims.add(claim);
  }

  deleteMember(node: string): void {
    this.#members.delete(node);
    for (const claim of this.#byNode.get(node)) this.#claims.delete(claim);
  }

  /** Decides which affinities count. Returns the nodes that may have changed since the last call. */
  settle(): ReadonlySet<string> {
    return this.#claims.settle();
  }

  /** The blocks of a node that count, in order. */
  blocksOf(node: string): Cidr[] {
    return [...this.#byNode.get(node)]
      .filter((claim) => this.#claims.refusal(claim) === undefined)
      .map(({ cidr }) => cidr)
      .sort((a, b) => ipCompare(addressOf(a), addressOf(b)));
  }

  /** Why affinities do not count, by key. */
  refusals(): [key: string, reason: string][] {
    return [...this.#claims.refusals].map(([{ key }, reason]) => [key, reason]);
  }
}
