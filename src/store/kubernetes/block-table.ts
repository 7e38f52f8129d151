import { type Claim, Claims } from '../../cluster/claims.ts';
import { ipCompare } from '../../ip/address.ts';
import { addressOf, type Cidr } from '../../ip/cidr.ts';
import type { Affinity } from '../ports/blocks.ts';

/**
 * The nodes' confirmed blocks. Of two nodes' overlapping blocks the older one counts; those of a node that
 * has not joined are left over and cost no other node its block.
 */
export class BlockTable {
  readonly #claims = new Claims();
  /** The confirmed affinities by object, and those that are claims. */
  readonly #known = new Map<string, Claim>();
  readonly #claimed = new Map<string, Claim>();
  readonly #members = new Set<string>();
  readonly #dirty = new Set<string>();

  /** What an object says now; undefined: it is gone. `created`: milliseconds since 1970. */
  set(key: string, affinity: Affinity | undefined, created = 0): void {
    this.#remove(key);
    if (affinity?.state !== 'confirmed') return;
    const claim = { key, owner: affinity.node, cidr: affinity.cidr, age: created };
    this.#known.set(key, claim);
    this.#add(claim);
  }

  setMember(name: string, isMember: boolean): void {
    if (this.#members.has(name) === isMember) return;
    if (isMember) this.#members.add(name);
    else this.#members.delete(name);
    for (const claim of [...this.#known.values()].filter(({ owner }) => owner === name)) {
      this.#withdraw(claim.key);
      this.#add(claim);
    }
  }

  /** The blocks of a node that count, in order. */
  blocksOf(name: string): readonly Cidr[] {
    const counting = [...this.#claimed.values()].filter(
      (claim) => claim.owner === name && this.#claims.refusal(claim) === undefined,
    );
    return counting.map(({ cidr }) => cidr).sort((a, b) => ipCompare(addressOf(a), addressOf(b)));
  }

  /** The names of nodes with refused blocks, and why. */
  get refusals(): readonly (readonly [name: string, reason: string])[] {
    return [...this.#claims.refusals].map(([{ owner }, reason]) => [owner, reason]);
  }

  /** Decides which blocks count; returns the nodes that may have others now. */
  settle(): readonly string[] {
    const names = [...this.#dirty, ...this.#claims.settle()];
    this.#dirty.clear();
    return names;
  }

  #add(claim: Claim): void {
    if (!this.#members.has(claim.owner)) return;
    this.#claimed.set(claim.key, claim);
    this.#claims.add(claim);
    this.#dirty.add(claim.owner);
  }

  #remove(key: string): void {
    this.#withdraw(key);
    this.#known.delete(key);
  }

  #withdraw(key: string): void {
    const claim = this.#claimed.get(key);
    if (!claim) return;
    this.#claims.delete(claim);
    this.#claimed.delete(key);
    this.#dirty.add(claim.owner);
  }
}
