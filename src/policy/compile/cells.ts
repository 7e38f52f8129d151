import type { PortRange } from '../../cluster/port-range.ts';
import { ALL_PORTS } from './segments.ts';

/** The numbers from 0 to 65535 as ranges divide them: whatever a range says is true of whole cells. */
export class Cells {
  readonly #firsts: Uint32Array;
  readonly #at = new Map<number, number>();

  /** The ranges are within `ALL_PORTS`. */
  constructor(ranges: Iterable<PortRange>) {
    const bounds = new Set([ALL_PORTS.first]);
    for (const { first, last } of ranges) {
      bounds.add(first);
      if (last < ALL_PORTS.last) bounds.add(last + 1);
    }
    this.#firsts = Uint32Array.from(bounds).sort();
    for (const [cell, first] of this.#firsts.entries()) this.#at.set(first, cell);
  }

  get count(): number {
    return this.#firsts.length;
  }

  rangeOf(cell: number): PortRange {
    const next = this.#firsts[cell + 1] ?? ALL_PORTS.last + 1;
    return { first: this.#firsts[cell] ?? 0, last: next - 1 };
  }

  /** The cell that begins with a range of those that made the cells, and the one after its last. */
  of({ first, last }: PortRange): { readonly from: number; readonly to: number } {
    return { from: this.#at.get(first) ?? 0, to: this.#at.get(last + 1) ?? this.count };
  }
}

/** Some of the cells. Those that are not in it any more cost nothing: each is taken once. */
export class CellSet {
  /** Where to look for the next one: of a cell in the set, itself. */
  readonly #next: Int32Array;

  /** All cells, or these. */
  constructor(count: number, cells?: Iterable<number>) {
    this.#next = new Int32Array(count + 1);
    for (let i = 0; i <= count; i++) this.#next[i] = cells && i < count ? i + 1 : i;
    for (const cell of cells ?? []) this.#next[cell] = cell;
  }

  /** Those from `from` to before `to`, in order. What is found may be deleted meanwhile. */
  *within(from: number, to: number): Generator<number> {
    for (let cell = this.#from(from); cell < to; cell = this.#from(cell + 1)) yield cell;
  }

  delete(cell: number): void {
    this.#next[cell] = cell + 1;
  }

  #from(cell: number): number {
    let found = cell;
    while (this.#next[found] !== found) found = this.#next[found] ?? 0;
    for (let at = cell; at !== found; ) {
      const next = this.#next[at] ?? found;
      this.#next[at] = found;
      at = next;
    }
    return found;
  }
}
