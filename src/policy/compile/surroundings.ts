import { FAMILIES, type Family, familyOf, type Ip, ipToBigInt } from '../../ip/address.ts';
import { addressOf, type Cidr, lastIp } from '../../ip/cidr.ts';

/** A range in which the same networks are everywhere around. */
export type Part = {
  readonly family: Family;
  /** The first address and the last, as numbers. */
  readonly from: bigint;
  readonly to: bigint;
  /** What holds in these networks, by text: the same object for the same texts. */
  readonly texts: ReadonlySet<string>;
};

/** The world as networks divide it. */
export class Surroundings {
  readonly #parts: Readonly<Record<Family, readonly Part[]>>;

  /** `nets`: what holds in each network. */
  constructor(nets: ReadonlyMap<Cidr, readonly string[]>) {
    this.#parts = { 4: divide(4, nets), 6: divide(6, nets) };
  }

  /** Disjoint, in order; elsewhere is no network. */
  get parts(): readonly Part[] {
    return FAMILIES.flatMap((family) => this.#parts[family]);
  }

  /** What holds around an address. */
  at(ip: Ip): ReadonlySet<string> {
    const parts = this.#parts[familyOf(ip)];
    if (parts.length === 0) return NOTHING;
    const value = ipToBigInt(ip);
    let [low, high] = [0, parts.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((parts[middle]?.to ?? 0n) < value) low = middle + 1;
      else high = middle;
    }
    const part = parts[low];
    return part && part.from <= value ? part.texts : NOTHING;
  }
}

const NOTHING: ReadonlySet<string> = new Set();

/** Sweeps over the addresses where networks begin and end. */
function divide(family: Family, nets: ReadonlyMap<Cidr, readonly string[]>): Part[] {
  const steps = new Map<bigint, { begin: string[]; end: string[] }>();
  const at = (value: bigint): { begin: string[]; end: string[] } => {
    const step = steps.get(value) ?? { begin: [], end: [] };
    steps.set(value, step);
    return step;
  };
  for (const [net, texts] of nets) {
    if (familyOf(net) !== family) continue;
    const { begin } = at(ipToBigInt(addressOf(net)));
    const { end } = at(ipToBigInt(lastIp(net)) + 1n);
    // There may be more than a call may have arguments.
    for (const text of texts) {
      begin.push(text);
      end.push(text);
    }
  }
  const sorted = [...steps].toSorted(([a], [b]) => (a < b ? -1 : 1));
  // Networks of one condition may lie in each other.
  const depths = new Map<string, number>();
  const interned = new Interned();
  const parts: Part[] = [];
  for (const [i, [from, { begin, end }]] of sorted.entries()) {
    for (const text of begin) depths.set(text, (depths.get(text) ?? 0) + 1);
    for (const text of end) {
      const depth = (depths.get(text) ?? 0) - 1;
      if (depth > 0) depths.set(text, depth);
      else depths.delete(text);
    }
    const next = sorted[i + 1]?.[0];
    if (next === undefined || depths.size === 0) continue;
    parts.push({ family, from, to: next - 1n, texts: interned.of(depths) });
  }
  return parts;
}

/** Sets of texts, each once. */
class Interned {
  readonly #numbers = new Map<string, number>();
  readonly #sets = new Map<string, ReadonlySet<string>>();

  of(texts: ReadonlyMap<string, unknown>): ReadonlySet<string> {
    const numbers: number[] = [];
    for (const text of texts.keys()) {
      const number = this.#numbers.get(text) ?? this.#numbers.size;
      this.#numbers.set(text, number);
      numbers.push(number);
    }
    const key = numbers.sort((a, b) => a - b).join();
    const known = this.#sets.get(key) ?? new Set(texts.keys());
    this.#sets.set(key, known);
    return known;
  }
}
