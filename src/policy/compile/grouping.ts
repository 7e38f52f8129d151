import type { Family } from '../../ip/address.ts';
import { policyText, type Rule } from '../model/policy.ts';
import type { Decisions } from './decisions.ts';
import type { Effect } from './effects.ts';
import type { Outcome } from './outcome.ts';
import type { PodClass } from './pod-class.ts';
import type { Segment } from './segments.ts';

/** So many identities are kept apart by the rules that decide about them, so that each rule is counted. */
export const MOST_APART = 512;

/** What decides about connections of this node's pods, and what an address is that no rule tells apart. */
type Deciding = {
  readonly classes: readonly PodClass[];
  readonly families: readonly Family[];
  readonly stranger: Effect;
};

/**
 * Which identities are one to the kernel. Where there are more than `mostApart`, as with thousands of
 * networks, these are all of whose connections with this node's pods the same becomes, by whichever rules.
 */
export function grouping(
  deciding: Deciding,
  mostApart: number,
): (all: ReadonlySet<Effect>) => (one: Effect) => Effect {
  return (all) => {
    if (all.size <= mostApart) return (one) => one;
    const fates = new Fates(deciding);
    const groups = new Map<Effect, Effect>();
    for (const members of Map.groupBy(all, (each) => fates.of(each)).values()) {
      const group = together(members, deciding.stranger);
      for (const each of members) groups.set(each, group);
    }
    return (one) => groups.get(one) ?? one;
  };
}

/** Stands for all of them: always the same one, as their rules are counted together. */
function together(members: readonly Effect[], stranger: Effect): Effect {
  const least = members.reduce((a, b) => (b.key < a.key ? b : a));
  if (members.length === 1) return least;
  return { ...(members.includes(stranger) ? stranger : least), isOneOf: true };
}

/** What becomes of connections with addresses. */
class Fates {
  readonly #classes: readonly PodClass[];
  readonly #families: readonly Family[];
  readonly #byRule = new Map<Rule, number[]>();
  readonly #texts = new Map<Decisions, number>();
  readonly #numbers = new Map<string, number>();

  constructor({ classes, families }: Deciding) {
    this.#classes = classes;
    this.#families = families;
    for (const [i, { rules }] of classes.entries())
      for (const rule of rules) {
        const others = this.#byRule.get(rule);
        if (others) others.push(i);
        else this.#byRule.set(rule, [i]);
      }
  }

  /** The same text for those of which the same becomes, where it may not be what becomes of a stranger's. */
  of(effect: Effect): string {
    const concerned = this.#concernedBy(effect);
    return concerned
      .flatMap(([i, one]) =>
        this.#families.map((family) => `${i} ${family} ${this.#numberOf(one.decisions(family, effect))}`),
      )
      .join();
  }

  #concernedBy({ rules, ports }: Effect): readonly (readonly [number, PodClass])[] {
    if (ports.length > 0) return [...this.#classes.entries()];
    const found = new Set<number>();
    for (const rule of rules) for (const i of this.#byRule.get(rule) ?? []) found.add(i);
    return [...found]
      .sort((a, b) => a - b)
      .flatMap((i) => {
        const one = this.#classes[i];
        return one ? [[i, one] as const] : [];
      });
  }

  #numberOf(decisions: Decisions): number {
    const known = this.#texts.get(decisions);
    if (known !== undefined) return known;
    const text = decisionsText(decisions);
    const number = this.#numbers.get(text) ?? this.#numbers.size;
    this.#numbers.set(text, number);
    this.#texts.set(decisions, number);
    return number;
  }
}

function decisionsText({ byProtocol, others }: Decisions): string {
  const rest = outcomeText(others);
  const protocols = [...byProtocol].toSorted(([a], [b]) => a - b);
  const texts = protocols.map(([protocol, segments]) => `${protocol}: ${segmentsText(segments)}`);
  return [rest, ...texts.filter((text) => !text.endsWith(`: 0 ${rest}`))].join('; ');
}

/** Where something else begins. */
function segmentsText(segments: readonly Segment<Outcome>[]): string {
  const texts: string[] = [];
  let last: string | undefined;
  for (const { first, value } of segments) {
    const text = outcomeText(value);
    if (text !== last) texts.push(`${first} ${text}`);
    last = text;
  }
  return texts.join(', ');
}

function outcomeText({ verdict, reason, logs }: Outcome): string {
  return [verdict, reason.kind, ...logs.map(({ policy, rule }) => `${policyText(policy)} ${rule.name}`)].join(
    ' ',
  );
}
