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
import { CellSet, Cells } from './cells.ts';
import { portTexts } from './identities.ts';
import { type Outcome, outcomeOf } from './outcome.ts';
import { ALL_PORTS, complement, intersection, joined, type Segment } from './segments.ts';

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

/** `steps`: how many rules, and stretches of ports, it took to make them. */
export type Weighed = Decisions & { readonly steps: number };

/** Stands for all protocols that no rule names. */
const OTHERS = 256;

/** Decides all connections between a pod and an address at once: what `evaluate` does, for every port. */
export function decide(question: Question): Weighed {
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
  const rules = matching.reduce((sum, each) => sum + each.rules.length, 1);
  const steps = [...byProtocol.values()].reduce((sum, segments) => sum + segments.length, rules);
  return { byProtocol, others: others.value, steps };
}

/** The first rule that is about a number decides: each is decided once, however many rules there are. */
function ofProtocol(
  protocol: number,
  matching: readonly Matching[],
  question: Question,
): readonly Segment<Outcome>[] {
  const tiers = matching.map(({ rules, ...of }) => ({
    ...of,
    rules: rules.map((found) => ({ found, ranges: rangesOf(found.rule, protocol, question) })),
  }));
  const cells = new Cells(tiers.flatMap(({ rules }) => rules.flatMap(({ ranges }) => ranges)));
  const decided: Segment<Outcome>[] = [];
  const logs = new Map<number, Logs>();
  let undecided = new CellSet(cells.count);
  for (const { tier, policies, rules } of tiers) {
    const passed: number[] = [];
    for (const { found, ranges } of rules) {
      const { action } = found.rule;
      const decide =
        action === 'allow' || action === 'deny' ? decider(action, { kind: 'rule', ...found }) : undefined;
      const log = logger(found);
      for (const cell of within(undecided, cells, ranges)) {
        if (action === 'log') {
          logs.set(cell, log(logs.get(cell)));
          continue;
        }
        undecided.delete(cell);
        if (decide) decided.push({ ...cells.rangeOf(cell), value: decide(logs.get(cell)) });
        else passed.push(cell);
      }
    }
    const left = [...undecided.within(0, cells.count)];
    if (tier.otherwise === 'pass') {
      undecided = new CellSet(cells.count, [...left, ...passed]);
      continue;
    }
    const isolate = decider('deny', { kind: 'isolated', tier, policies });
    for (const cell of left) decided.push({ ...cells.rangeOf(cell), value: isolate(logs.get(cell)) });
    undecided = new CellSet(cells.count, passed);
  }
  const allow = decider('allow', { kind: 'no-policy' });
  for (const cell of undecided.within(0, cells.count))
    decided.push({ ...cells.rangeOf(cell), value: allow(logs.get(cell)) });
  return joinedByKey(decided);
}

function* within(undecided: CellSet, cells: Cells, ranges: readonly PortRange[]): Generator<number> {
  for (const range of ranges) {
    const { from, to } = cells.of(range);
    yield* undecided.within(from, to);
  }
}

/** The rules that have logged a connection, the last first: what has been logged alike shares them. */
type Logs = { readonly before: Logs | undefined; readonly found: RuleOf };

function logger(found: RuleOf): (before: Logs | undefined) => Logs {
  const known = new Map<Logs | undefined, Logs>();
  return (before) => {
    const logs = known.get(before) ?? { before, found };
    known.set(before, logs);
    return logs;
  };
}

/** The outcomes of one reason, by what has been logged before. */
function decider(
  verdict: Outcome['verdict'],
  reason: Outcome['reason'],
): (logs: Logs | undefined) => Outcome {
  const known = new Map<Logs | undefined, Outcome>();
  return (logs) => {
    const outcome = known.get(logs) ?? outcomeOf(verdict, reason, rulesIn(logs));
    known.set(logs, outcome);
    return outcome;
  };
}

function rulesIn(logs: Logs | undefined): readonly RuleOf[] {
  const rules: RuleOf[] = [];
  for (let each = logs; each; each = each.before) rules.push(each.found);
  return rules.reverse();
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
  for (const { rule } of rules)
    if (rule.traffic) for (const each of knownOf(rule, rule.traffic).protocols) protocols.add(each);
  return protocols;
}

function protocolsIn(traffic: readonly Traffic[]): ReadonlySet<number> {
  const protocols = new Set<number>();
  for (const { protocol, notProtocol, ports, notPorts, icmp, notIcmp } of traffic) {
    if (notProtocol !== undefined) protocols.add(notProtocol);
    if (protocol !== undefined) protocols.add(protocol);
    else {
      if (ports ?? notPorts) for (const each of WITH_PORTS) protocols.add(each);
      if (icmp ?? notIcmp) for (const each of [ICMP, ICMPV6]) protocols.add(each);
    }
  }
  return protocols;
}

/** The ports of a protocol that a rule matches, sorted and disjoint. Found once: rules may list thousands. */
function rangesOf(rule: Rule, protocol: number, question: Question): readonly PortRange[] {
  const { traffic } = rule;
  if (traffic === undefined) return [ALL_PORTS];
  const { direction, own, peer, family } = question;
  const { namesPorts, ranges } = knownOf(rule, traffic);
  const named = namesPorts ? portTexts(direction === 'egress' ? peer.ports : own.ports) : [];
  const key = [protocol, family, ...named].join(' ');
  const known =
    ranges.get(key) ?? mergedRanges(traffic.flatMap((each) => rangesOfOne(each, protocol, question)));
  ranges.set(key, known);
  return known;
}

type KnownTraffic = {
  readonly protocols: ReadonlySet<number>;
  readonly namesPorts: boolean;
  readonly ranges: Map<string, readonly PortRange[]>;
};

const KNOWN = new WeakMap<Rule, KnownTraffic>();

function knownOf(rule: Rule, traffic: readonly Traffic[]): KnownTraffic {
  const known = KNOWN.get(rule) ?? {
    protocols: protocolsIn(traffic),
    namesPorts: traffic.some(({ ports, notPorts }) =>
      [ports, notPorts].some((each) => each !== undefined && each.names.length > 0),
    ),
    ranges: new Map(),
  };
  KNOWN.set(rule, known);
  return known;
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
