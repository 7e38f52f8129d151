import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { codeOf } from '../../error.ts';
import { type Cidr, contains } from '../../ip/cidr.ts';
import { HostLocal, type Shared } from '../../ipam/host-local.ts';
import type { RangeSet } from '../../ipam/ranges.ts';

/** Where reservations are, and this node's subnets. */
type Place = { readonly dataDir: string; readonly subnets: readonly Cidr[] };

/**
 * The reservations of all networks. Each directory is opened once: reading it would dominate a call's cost.
 *
 * A directory belongs to a network, as with host-local, but this node's subnets are one address space: an
 * address in one of them goes to one pod, whatever networks the pods' configurations name.
 */
export class Pools {
  readonly #open = new Map<string, HostLocal>();
  readonly #place: Place;

  constructor(place: Place) {
    this.#place = place;
  }

  /** For assigning addresses from these ranges. */
  of(dir: string, sets: readonly RangeSet[]): HostLocal {
    const own = this.in(dir);
    const shared: Shared = {
      contains: (ip) => this.#place.subnets.some((subnet) => contains(subnet, ip)),
      others: () => this.all().filter((pool) => pool !== own),
    };
    return own.withRanges(sets, shared);
  }

  /** For releasing addresses, whatever their range. */
  in(dir: string): HostLocal {
    const pool = this.#open.get(dir) ?? HostLocal.open(dir, []);
    this.#open.set(dir, pool);
    return pool;
  }

  /** Every network's reservations: those in the usual place, and those used before. */
  all(): HostLocal[] {
    for (const name of this.#networks()) this.in(join(this.#place.dataDir, name));
    return [...this.#open.values()];
  }

  /** Removes what the pools keep for their next reservations. */
  close(): void {
    for (const pool of this.#open.values()) pool.close();
  }

  #networks(): string[] {
    try {
      const entries = readdirSync(this.#place.dataDir, { withFileTypes: true });
      return entries.filter((entry) => entry.isDirectory()).map(({ name }) => name);
    } catch (error) {
      if (codeOf(error) === 'ENOENT') return [];
      throw error;
    }
  }
}
