import type { PortRange } from '../../cluster/port-range.ts';

/** What stands for ports without one of their own: ICMP's type and code, `type << 8 | code`; else 0. */
export const ALL_PORTS: PortRange = { first: 0, last: 65535 };

/** A part of the numbers from 0 to 65535, with what is known of it. */
export type Segment<T> = PortRange & { readonly value: T };

/** Divides segments into those inside the ranges, cut to them, and the rest. All are sorted and disjoint. */
export function divide<T>(
  segments: readonly Segment<T>[],
  ranges: readonly PortRange[],
): { readonly inside: Segment<T>[]; readonly outside: Segment<T>[] } {
  const inside: Segment<T>[] = [];
  const outside: Segment<T>[] = [];
  let at = 0;
  for (const { first, last, value } of segments) {
    while (at < ranges.length && (ranges[at]?.last ?? 0) < first) at++;
    let next = first;
    for (let i = at; next <= last; i++) {
      const range = ranges[i];
      if (!range || range.first > last) break;
      if (range.first > next) outside.push({ first: next, last: range.first - 1, value });
      const from = Math.max(next, range.first);
      next = Math.min(last, range.last) + 1;
      inside.push({ first: from, last: next - 1, value });
    }
    if (next <= last) outside.push({ first: next, last, value });
  }
  return { inside, outside };
}

/** All ports that are not in the ranges, which are sorted and disjoint. */
export function complement(ranges: readonly PortRange[]): PortRange[] {
  const { outside } = divide([{ ...ALL_PORTS, value: undefined }], ranges);
  return outside.map(({ first, last }) => ({ first, last }));
}

/** Ports in both, each sorted and disjoint. */
export function intersection(a: readonly PortRange[], b: readonly PortRange[]): PortRange[] {
  const segments = a.map((range) => ({ ...range, value: undefined }));
  return divide(segments, b).inside.map(({ first, last }) => ({ first, last }));
}

/** Sorted, and neighbours of the same value joined. */
export function joined<T>(segments: readonly Segment<T>[]): Segment<T>[] {
  const result: Segment<T>[] = [];
  for (const next of segments.toSorted((a, b) => a.first - b.first)) {
    const before = result.at(-1);
    if (before && before.last + 1 === next.first && before.value === next.value)
      result[result.length - 1] = { ...before, last: next.last };
    else result.push(next);
  }
  return result;
}
