import type { Family, Ip } from '../../ip/address.ts';
import { elementItem, elementOf, type NftElementItem } from '../../state/kinds/nft-element.ts';
import { ICMP, ICMPV6 } from '../model/traffic.ts';
import type { Decisions } from './decisions.ts';
import type { Outcome } from './outcome.ts';
import type { Segment } from './segments.ts';
import { connections, type Fate, type Lane, type Scope } from './sets.ts';
import { tableOf } from './table.ts';

/** An element of the table, and what it stands for. */
export type Decided = { readonly item: NftElementItem; readonly outcome: Outcome };

/**
 * The elements by which the kernel decides as `decisions` does about a pod's address: one for what the rules
 * say of all connections, and further ones for protocols and ports that differ. What a rule decides has an
 * element even where the pod's isolation would decide alike, so that its packets are counted. `logs`: whether
 * anybody is told of connections that rules want written down.
 */
export function laneElements(
  lane: Lane,
  ip: Ip,
  family: Family,
  decisions: Decisions,
  { isIsolated, logs }: { readonly isIsolated: boolean; readonly logs: boolean },
): readonly Decided[] {
  const { others } = decisions;
  const isDefault =
    others.reason.kind !== 'rule' &&
    others.verdict === (isIsolated ? 'deny' : 'allow') &&
    !(logs && others.logs.length > 0);
  return spread(decisions, isDefault).map(({ scope, value, rest }) => {
    const set = connections(lane, fateIn(lane, value, logs), scope, family);
    const key = [ip, ...rest] as never;
    return { item: elementItem(tableOf(family), elementOf(set, key)), outcome: value };
  });
}

/** What is said of some connections, and the fields, after the pod's address, by which they are found. */
export type Stretch<T> = {
  readonly scope: Scope;
  readonly value: T;
  readonly rest: readonly (number | object)[];
};

/**
 * As few stretches as say the same as decisions do, where the most special is what counts. `isDefault`: what
 * is true of all others need not be said.
 */
export function spread<T extends { readonly key: string }>(
  { byProtocol, others }: Decisions<T>,
  isDefault: boolean,
): readonly Stretch<T>[] {
  const result: Stretch<T>[] = isDefault ? [] : [{ scope: 'all', value: others, rest: [] }];
  for (const [protocol, segments] of byProtocol) {
    const base = baseOf(segments, others);
    if (base.key !== others.key) result.push({ scope: 'protocols', value: base, rest: [protocol] });
    for (const segment of segments)
      if (segment.value.key !== base.key) result.push(...stretches(protocol, segment));
  }
  return result;
}

/** So many ports that follow one another are kept one by one. */
const FEW = 8;

function stretches<T>(protocol: number, { first, last, value }: Segment<T>): readonly Stretch<T>[] {
  if (protocol === ICMP || protocol === ICMPV6)
    return [{ scope: 'messages', value, rest: [protocol, { first, last }] }];
  if (last - first >= FEW) return [{ scope: 'ranges', value, rest: [protocol, { first, last }] }];
  return Array.from({ length: last - first + 1 }, (_, i) => ({
    scope: 'ports',
    value,
    rest: [protocol, first + i],
  }));
}

function fateIn({ direction }: Lane, { verdict, reason, logs: rules }: Outcome, logs: boolean): Fate {
  const fate = direction === 'egress' && reason.kind === 'isolated' ? 'isolate' : verdict;
  return logs && rules.length > 0 ? `${fate}-logged` : fate;
}

/** That of all other connections if any port has it, so that little must be said; else that of most ports. */
function baseOf<T extends { readonly key: string }>(segments: readonly Segment<T>[], others: T): T {
  if (segments.some(({ value }) => value.key === others.key)) return others;
  const widths = new Map<T, number>();
  for (const { first, last, value } of segments)
    widths.set(value, (widths.get(value) ?? 0) + last - first + 1);
  const [[widest = others] = []] = [...widths].toSorted(([, a], [, b]) => b - a);
  return widest;
}
