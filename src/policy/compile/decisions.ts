import { mergedRanges, type PortRange } from '../../cluster/port-range.ts';
import type { Family } from '../../ip/address.ts';
import type { NamedPort } from '../model/entity.ts';
import type { RuleOf } from '../model/evaluate.ts';
import type { Policy, Rule, Tier } from '../model/policy.ts';
import {
  hasPorts,
  ICMP,
  ICMPV6,
  type IcmpKind,
  type Ports,
  type Traffic,
  WITH_PORTS,
} from '../model/traffic.ts';
import { type Outcome, outcomeOf } from './outcome.ts';
import { ALL_PORTS, complement, divide, intersection, joined, type Segment } from './segments.ts';

/** What a tier says about a pod: the rules that may concern connections with an address, in order. */
export type Matching = {
  readonly tier: Tier;
  readonly policies: readonly Policy[];
  readonly rules: readonly RuleOf[];
};

export type Question = {
  readonly direction: 'ingress' | 'egress';
  readonly family: Family;
  /** Of the tiers whose policies are about the pod, in order. */
  readonly matching: readonly Matching[];
  /** The ports that names stand for, at each end. */
  readonly own: { readonly ports: readonly NamedPort[] };
  readonly peer: { readonly ports: readonly NamedPort[] };
};

/** Outcomes by protocol and port; a protocol that is not listed has that of `others`. */
export type Decisions<T = Outcome> = {
  readonly byProtocol: ReadonlyMap<number, readonly Segment<T>[]>;
  readonly others: T;
};

/** Stands for all protocols that no rule names. */
const OTHERS = 256;

/** A stretch of ports that is not decided yet, by the rules that have logged it. */
type Undecided = readonly Segment<readonly RuleOf[]>[];

/** Decides all connections between a pod and an address at once: what `evaluate` does, for every port. */
export function decide(question: Question): Decisions {
  const { matching } = question;
  const protocols = protocolsOf(matching.flatMap(({ rules }) => rules));
  const decided = new Map<number, readonly Segment<Outcome>[]>();
  for (const protocol of [...protocols, OTHERS])
    decided.set(protocol, ofProtocol(protocol, matching, question));
  const [others] = decided.get(OTHERS) ?? [];
  if (!others) throw new RangeError('no decision');
  decided.delete(OTHERS);
  const byProtocol = new Map(
    [...decided].filter(([, segments]) => segments.some(({ value }) => value.key !== others.value.key)),
  );
  return { byProtocol, others: others.value };
}

function ofProtocol(
  protocol: number,
  matching: readonly Matching[],
  question: Question,
): readonly Segment<Outcome>[] {
  const decided: Segment<Outcome>[] = [];
  let undecided: Undecided = [{ ...ALL_PORTS, value: [] }];
  for (const { tier, policies, rules } of matching) {
    const passed: Segment<readonly RuleOf[]>[] = [];
    for (const found of rules) {
      const ranges = rangesOf(found.rule, protocol, question);
      if (ranges.length === 0) continue;
      const { inside, outside } = divide(undecided, ranges);
      if (inside.length === 0) continue;
      undecided = outside;
      const { action } = found.rule;
      if (action === 'pass') passed.push(...inside);
      else if (action === 'log')
        undecided = sorted([
          ...outside,
          ...inside.map((each) => ({ ...each, value: [...each.value, found] })),
        ]);
      else for (const each of inside) decided.push(decidedAs(each, action, { kind: 'rule', ...found }));
    }
    if (tier.otherwise === 'pass') {
      undecided = sorted([...undecided, ...passed]);
      continue;
    }
    for (const each of undecided) decided.push(decidedAs(each, 'deny', { kind: 'isolated', tier, policies }));
    undecided = sorted(passed);
  }
  for (const each of undecided) decided.push(decidedAs(each, 'allow', { kind: 'no-policy' }));
  return joinedByKey(decided);
}

function decidedAs(
  { first, last, value }: Segment<readonly RuleOf[]>,
  verdict: Outcome['verdict'],
  reason: Outcome['reason'],
): Segment<Outcome> {
  return { first, last, value: outcomeOf(verdict, reason, value) };
}

function sorted<T>(segments: readonly Segment<T>[]): Segment<T>[] {
  return segments.toSorted((a, b) => a.first - b.first);
}

/** Equal outcomes are made one object, so that neighbours can be joined. */
function joinedByKey(segments: readonly Segment<Outcome>[]): readonly Segment<Outcome>[] {
  const byKey = new Map<string, Outcome>();
  return joined(
    segments.map((each) => {
      const value = byKey.get(each.value.key) ?? each.value;
      byKey.set(value.key, value);
      return { ...each, value };
    }),
  );
}

/** The protocols that rules name, and those with ports, or messages, where they name none beside these. */
function protocolsOf(rules: readonly RuleOf[]): ReadonlySet<number> {
  const protocols = new Set<number>();
  for (const { rule } of rules) {
    for (const { protocol, notProtocol, ports, notPorts, icmp, notIcmp } of rule.traffic ?? []) {
      if (notProtocol !== undefined) protocols.add(notProtocol);
      if (protocol !== undefined) protocols.add(protocol);
      else {
        if (ports ?? notPorts) for (const each of WITH_PORTS) protocols.add(each);
        if (icmp ?? notIcmp) for (const each of [ICMP, ICMPV6]) protocols.add(each);
      }
    }
  }
  return protocols;
}

/** The ports of a protocol that a rule matches, sorted and disjoint. */
function rangesOf({ traffic }: Rule, protocol: number, question: Question): readonly PortRange[] {
  if (traffic === undefined) return [ALL_PORTS];
  return mergedRanges(traffic.flatMap((each) => rangesOfOne(each, protocol, question)));
}

function rangesOfOne(traffic: Traffic, protocol: number, question: Question): readonly PortRange[] {
  const { direction, own, peer, family } = question;
  if (traffic.family !== undefined && traffic.family !== family) return [];
  if (traffic.protocol !== undefined && traffic.protocol !== protocol) return [];
  if (traffic.notProtocol === protocol) return [];
  const named = direction === 'egress' ? peer.ports : own.ports;
  let ranges: readonly PortRange[] = [ALL_PORTS];
  if (traffic.ports) ranges = portsOf(traffic.ports, protocol, named);
  if (traffic.notPorts) ranges = intersection(ranges, complement(portsOf(traffic.notPorts, protocol, named)));
  if (traffic.icmp) ranges = intersection(ranges, kindsOf(traffic.icmp, protocol));
  if (traffic.notIcmp) ranges = intersection(ranges, complement(kindsOf(traffic.notIcmp, protocol)));
  return ranges;
}

function portsOf(
  { ranges, names }: Ports,
  protocol: number,
  named: readonly NamedPort[],
): readonly PortRange[] {
  if (!hasPorts(protocol)) return [];
  const own = named.filter((each) => each.protocol === protocol && names.includes(each.name));
  return mergedRanges([...ranges, ...own.map(({ port }) => ({ first: port, last: port }))]);
}

function kindsOf({ type, code }: IcmpKind, protocol: number): readonly PortRange[] {
  if (protocol !== ICMP && protocol !== ICMPV6) return [];
  const first = (type << 8) | (code ?? 0);
  return [{ first, last: code === undefined ? first | 0xff : first }];
}
