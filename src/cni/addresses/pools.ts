import { HostLocal } from '../../ipam/host-local.ts';
import type { RangeSet } from '../../ipam/ranges.ts';

/**
 * The reservations of all networks. Each directory is opened once: reading it would dominate a call's cost.
 */
export class Pools {
  readonly #open = new Map<string, HostLocal>();

  /** For assigning addresses from these ranges. */
  of(dir: string, sets: readonly RangeSet[]): HostLocal {
    return this.in(dir).withRanges(sets);
  }

  /** For releasing addresses, whatever their range. */
  in(dir: string): HostLocal {
    const pool = this.#open.get(dir) ?? HostLocal.open(dir, []);
    this.#open.set(dir, pool);
    return pool;
  }
}
