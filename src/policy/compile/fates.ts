import { type Family, familyOf, type Ip } from '../../ip/address.ts';
import { policyText, type Rule } from '../model/policy.ts';
import type { Decisions, Weighed } from './decisions.ts';
import type { Effect } from './effects.ts';
import { type Most, type Scope, Tally } from './excess.ts';
import { spread } from './lane.ts';
import type { Outcome } from './outcome.ts';
import type { PodClass } from './pod-class.ts';
import type { Segment } from './segments.ts';

/** What decides about connections of this node's pods, and how many addresses of each family these have. */
export type Deciding = {
  readonly classes: ReadonlyMap<PodClass, Readonly<Record<Family, number>>>;
  readonly families: readonly Family[];
};

/** Decisions by a number, the same for the same, and how many elements say them for one address. */
type Numbered = { readonly number: number; readonly elements: number };

type Own = { readonly one: PodClass; readonly count: Readonly<Record<Family, number>> };

/** What becomes of connections with addresses, and whether that is too much for a node. */
export class Fates {
  readonly #classes: readonly Own[];
  readonly #families: readonly Family[];
  readonly #byRule = new Map<Rule, number[]>();
  readonly #known = new Map<Decisions, Numbered>();
  readonly #byText = new Map<string, number>();
  readonly #kinds = new Map<Scope, Set<string>>();
  readonly #tallies: Readonly<Record<'steps' | 'elements' | 'kinds', Tally>>;

  constructor({ classes, families }: Deciding, most: Most) {
    this.#tallies = {
      steps: new Tally('steps', most),
      elements: new Tally('elements', most),
      kinds: new Tally('kinds', most),
    };
    this.#classes = [...classes].map(([one, count]) => ({ one, count }));
    this.#families = families;
    for (const [i, { one }] of this.#classes.entries())
      for (const rule of one.rules) {
        const others = this.#byRule.get(rule);
        if (others) others.push(i);
        else this.#byRule.set(rule, [i]);
      }
  }

  /**
   * The same text for those of which the same becomes, where it may not be what becomes of a stranger's.
   * Throws `Excess`.
   */
  of(effect: Effect): string {
    const texts = new Map<Scope, string>();
    const laidOutFor = new Map<Scope, number>();
    for (const i of this.#concernedBy(effect)) {
      const own = this.#classes[i];
      if (!own) continue;
      const { one, count } = own;
      let [text, laidOut] = [texts.get(one.scope) ?? '', laidOutFor.get(one.scope) ?? 0];
      text += `${i}`;
      for (const family of this.#families) {
        const decisions = one.decisions(family, effect);
        const { number, elements } = this.#numbered(one.scope, decisions);
        text += ` ${number}`;
        laidOut += count[family] * elements;
      }
      texts.set(one.scope, `${text},`);
      laidOutFor.set(one.scope, laidOut);
    }
    for (const [scope, text] of texts) this.#countKind(scope, text, laidOutFor.get(scope) ?? 0);
    return [...texts.values()].join('');
  }

  /** Of all scopes but these, the one that tells the most kinds apart. Undefined: none does. */
  greediest(closed: ReadonlySet<Scope>): { readonly scope: Scope } | undefined {
    return [...this.#kinds]
      .map(([scope, { size }]) => ({ scope, size }))
      .filter(({ scope, size }) => size > 1 && !closed.has(scope))
      .sort((a, b) => b.size - a.size || (`${a.scope}` < `${b.scope}` ? -1 : 1))[0];
  }

  /** Places of classes, in order. */
  #concernedBy({ rules, ports }: Effect): Iterable<number> {
    if (ports.length > 0) return this.#classes.keys();
    const found = new Set<number>();
    for (const rule of rules) for (const i of this.#byRule.get(rule) ?? []) found.add(i);
    return [...found].sort((a, b) => a - b);
  }

  /** What is laid out for a kind: its chain's elements for the scope's pods. */
  #countKind(scope: Scope, text: string, elements: number): void {
    const kinds = this.#kinds.get(scope) ?? new Set();
    this.#kinds.set(scope, kinds);
    if (kinds.has(text)) return;
    kinds.add(text);
    this.#tallies.kinds.add(scope, 1);
    this.#tallies.elements.add(scope, elements);
  }

  #numbered(scope: Scope, decisions: Weighed): Numbered {
    const known = this.#known.get(decisions);
    if (known) return known;
    this.#tallies.steps.add(scope, decisions.steps);
    const text = decisionsText(decisions);
    const number = this.#byText.get(text) ?? this.#byText.size;
    this.#byText.set(text, number);
    const numbered = { number, elements: spread(decisions, false).length };
    this.#known.set(decisions, numbered);
    return numbered;
  }
}

/** How many addresses of each family each class has. */
export function sizesOf<T>(
  all: Iterable<ReadonlyMap<Ip, T>>,
): ReadonlyMap<T, Readonly<Record<Family, number>>> {
  const sizes = new Map<T, Record<Family, number>>();
  for (const ofPod of all)
    for (const [ip, one] of ofPod) {
      const size = sizes.get(one) ?? { 4: 0, 6: 0 };
      size[familyOf(ip)]++;
      sizes.set(one, size);
    }
  return sizes;
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
