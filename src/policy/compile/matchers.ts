import type { Matcher } from '../model/matcher.ts';
import type { Direction, Rule, Tier } from '../model/policy.ts';

/** What the rules of a direction ask of the other end's address. */
export type Questions = {
  /** By text. */
  readonly matchers: ReadonlyMap<string, Matcher>;
  /** The names of ports whose number depends on the pod at the address. */
  readonly portNames: ReadonlySet<string>;
};

/** What must be known of the addresses at the other end of the pods' connections. */
export function questionsOf(tiers: readonly Tier[], direction: Direction): Questions {
  const matchers = new Map<string, Matcher>();
  const portNames = new Set<string>();
  for (const rule of rulesOf(tiers, direction)) {
    for (const { are, areNot } of rule.peers ?? [])
      for (const matcher of [...are, ...areNot]) matchers.set(matcher.text, matcher);
    if (direction === 'egress') addNames(rule, portNames);
  }
  return { matchers, portNames };
}

/** What must be known of the pods that the policies are about. */
export function ownQuestionsOf(tiers: readonly Tier[], direction: Direction): Questions {
  const matchers = new Map<string, Matcher>();
  const portNames = new Set<string>();
  for (const rule of rulesOf(tiers, direction)) {
    for (const matcher of [...(rule.own?.are ?? []), ...(rule.own?.areNot ?? [])])
      matchers.set(matcher.text, matcher);
    if (direction === 'ingress') addNames(rule, portNames);
  }
  return { matchers, portNames };
}

function* rulesOf(tiers: readonly Tier[], direction: Direction): Generator<Rule> {
  for (const { policies } of tiers) for (const policy of policies) yield* policy[direction] ?? [];
}

function addNames({ traffic }: Rule, names: Set<string>): void {
  for (const { ports, notPorts } of traffic ?? [])
    for (const name of [...(ports?.names ?? []), ...(notPorts?.names ?? [])]) names.add(name);
}
