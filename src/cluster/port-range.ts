import type { Fields } from './fields.ts';

/** Ports from first to last, inclusive. */
export type PortRange = { readonly first: number; readonly last: number };

/** Reads a list of ports and ranges: `[22, '30000-32767']`. Throws CONFIG_INVALID naming the item. */
export function readPortRanges(fields: Fields, name: string): readonly PortRange[] | undefined {
  return fields.list(name)?.map((value, i) => {
    const range = rangeOf(value);
    if (range) return range;
    throw fields.invalid(`${name}[${i}]`, 'must be a port from 1 to 65535, or a range like 30000-32767');
  });
}

/** As `readPortRanges` reads it. */
export function portRangeValue({ first, last }: PortRange): number | string {
  return first === last ? first : `${first}-${last}`;
}

export function isInRange(port: number, { first, last }: PortRange): boolean {
  return first <= port && port <= last;
}

/** The same ports in ranges that neither overlap nor touch, in order. */
export function mergedRanges(ranges: readonly PortRange[]): readonly PortRange[] {
  const merged: PortRange[] = [];
  for (const next of ranges.toSorted((a, b) => a.first - b.first)) {
    const before = merged.at(-1);
    if (before && next.first <= before.last + 1)
      merged[merged.length - 1] = { first: before.first, last: Math.max(before.last, next.last) };
    else merged.push({ first: next.first, last: next.last });
  }
  return merged;
}

function rangeOf(value: unknown): PortRange | undefined {
  const [, from, to = from] = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(`${value}`) ?? [];
  const [first, last] = [Number(from), Number(to)];
  return first >= 1 && first <= last && last <= 65535 ? { first, last } : undefined;
}
