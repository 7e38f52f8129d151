import type { Decisions } from '../compile/decisions.ts';
import type { Outcome } from '../compile/outcome.ts';
import { ALL_PORTS, type Segment } from '../compile/segments.ts';

/** By what was decided before, whether what is decided now has been found to take anything away. */
const FOUND = new WeakMap<Decisions, WeakMap<Decisions, boolean>>();

/** Whether some connection was allowed and is denied now. Absent: all are allowed. */
export function takesAway(before: Decisions | undefined, after: Decisions | undefined): boolean {
  if (!after || before === after) return false;
  const was = before ?? ALL_ALLOWED;
  const found = FOUND.get(was) ?? new WeakMap<Decisions, boolean>();
  FOUND.set(was, found);
  const known = found.get(after) ?? compare(was, after);
  found.set(after, known);
  return known;
}

const ALL_ALLOWED: Decisions = {
  byProtocol: new Map(),
  others: { key: '', verdict: 'allow', reason: { kind: 'no-policy' }, logs: [] },
};

function compare(before: Decisions, after: Decisions): boolean {
  if (before.others.verdict === 'allow' && after.others.verdict === 'deny') return true;
  return [...new Set([...before.byProtocol.keys(), ...after.byProtocol.keys()])].some((protocol) => {
    const allowed = segmentsOf(before, protocol).filter(({ value }) => value.verdict === 'allow');
    const denied = segmentsOf(after, protocol).filter(({ value }) => value.verdict === 'deny');
    return denied.some((a) => allowed.some((b) => a.first <= b.last && b.first <= a.last));
  });
}

function segmentsOf({ byProtocol, others }: Decisions, protocol: number): readonly Segment<Outcome>[] {
  return byProtocol.get(protocol) ?? [{ ...ALL_PORTS, value: others }];
}
