import type { Reason } from '../../model/evaluate.ts';
import { type Policy, policyText } from '../../model/policy.ts';
import type { Decisions } from '../decisions.ts';
import type { Outcome } from '../outcome.ts';
import { ALL_PORTS, type Segment } from '../segments.ts';

/** What would become of a connection if the staged policies were enforced. */
export type Difference = {
  readonly key: string;
  /** Absent: the same as now. */
  readonly would?: Outcome['verdict'];
  /** The staged policies that this is due to. */
  readonly by: readonly Policy[];
};

export const SAME: Difference = { key: 'the same', by: [] };

/** Compares what is decided now with what would be. `staged`: the staged policies that matter to the pod. */
export function differences(
  now: Decisions,
  enforced: Decisions,
  staged: readonly Policy[],
): Decisions<Difference> {
  const difference = (a: Outcome, b: Outcome): Difference => between(a, b, staged);
  const others = difference(now.others, enforced.others);
  const byProtocol = new Map<number, readonly Segment<Difference>[]>();
  for (const protocol of new Set([...now.byProtocol.keys(), ...enforced.byProtocol.keys()])) {
    const [a, b] = [now, enforced].map(({ byProtocol: own, others: rest }) => {
      return own.get(protocol) ?? [{ ...ALL_PORTS, value: rest }];
    });
    const segments = zip(a ?? [], b ?? [], difference);
    if (segments.some(({ value }) => value.key !== others.key)) byProtocol.set(protocol, segments);
  }
  return { byProtocol, others };
}

/** Whether nothing would be different. */
export function areSame({ byProtocol, others }: Decisions<Difference>): boolean {
  return byProtocol.size === 0 && others.would === undefined;
}

function between(now: Outcome, then: Outcome, staged: readonly Policy[]): Difference {
  if (now.verdict === then.verdict) return SAME;
  const by = dueTo(now.reason, then.reason, staged);
  return { key: `${then.verdict}: ${by.map(policyText).join(', ')}`, would: then.verdict, by };
}

/**
 * Those that would decide; else those in whose place is what decides now; else all, one of which must be what
 * lets others decide.
 */
function dueTo(now: Reason, then: Reason, staged: readonly Policy[]): readonly Policy[] {
  const deciding = new Set(policiesOf(then).map(policyText));
  const decided = new Set(policiesOf(now).map(policyText));
  const own = staged.filter((policy) => deciding.has(policyText(policy)));
  if (own.length > 0) return own;
  const replacing = staged.filter(
    (each) =>
      each.staged?.action !== 'ignore' && each.staged && decided.has(policyText(each.staged.replaces)),
  );
  return replacing.length > 0 ? replacing : staged;
}

function policiesOf(reason: Reason): readonly Policy[] {
  if (reason.kind === 'no-policy') return [];
  return reason.kind === 'rule' ? [reason.policy] : reason.policies;
}

/** Combines two divisions of all ports; neighbours of the same value are one. */
function zip<A, B, T extends { readonly key: string }>(
  a: readonly Segment<A>[],
  b: readonly Segment<B>[],
  combine: (a: A, b: B) => T,
): readonly Segment<T>[] {
  const result: Segment<T>[] = [];
  let [i, j] = [0, 0];
  while (i < a.length && j < b.length) {
    const [one, other] = [a[i] as Segment<A>, b[j] as Segment<B>];
    const range = { first: Math.max(one.first, other.first), last: Math.min(one.last, other.last) };
    const value = combine(one.value, other.value);
    const before = result.at(-1);
    if (before?.value.key === value.key) result[result.length - 1] = { ...before, last: range.last };
    else result.push({ ...range, value: value });
    if (one.last === range.last) i++;
    if (other.last === range.last) j++;
  }
  return result;
}
