import { type Direction, type Peer, policyText, type Rule, type Tier } from '../model/policy.ts';
import type { Scope, Share } from './excess.ts';
import { portTexts, type Traits } from './identities.ts';

/**
 * What an address is to the rules: those of whose peers it is one, and which ports its names stand for.
 * Addresses of one effect are one to the kernel, whatever their labels and networks.
 */
export type Effect = {
  readonly key: string;
  /** Besides those that are about everyone. */
  readonly rules: ReadonlySet<Rule>;
  readonly ports: Traits['ports'];
  /** Whose rules these are: how many of each, and which. */
  readonly shares: readonly Share[];
  /** It stands for others of which the same becomes, by other rules. */
  readonly isOneOf?: true;
};

type OneOf = { readonly rule: Rule; readonly peer: Peer };

/** Finds the rules that traits matter to, without asking each of them. */
export class Effects {
  /** By a condition that must hold. */
  readonly #byText = new Map<string, OneOf[]>();
  readonly #unconditional: OneOf[] = [];
  readonly #texts = new Map<Rule, string>();
  readonly #places = new Map<Rule, { readonly scope: Scope; readonly number: number }>();

  constructor(tiers: readonly Tier[], direction: Direction) {
    const taken = new Set<string>();
    for (const tier of tiers)
      for (const policy of tier.policies)
        for (const rule of policy[direction] ?? []) {
          for (const peer of rule.peers ?? []) this.#add(rule, peer);
          let text = `${tier.name} ${policyText(policy)} ${rule.name}`;
          while (taken.has(text)) text += ' again';
          taken.add(text);
          this.#texts.set(rule, text);
          this.#places.set(rule, { scope: policy.namespace, number: this.#places.size });
        }
  }

  #add(rule: Rule, peer: Peer): void {
    const [first] = peer.are;
    if (!first) this.#unconditional.push({ rule, peer });
    else {
      const others = this.#byText.get(first.text);
      if (others) others.push({ rule, peer });
      else this.#byText.set(first.text, [{ rule, peer }]);
    }
  }

  of({ are, ports }: Traits): Effect {
    const rules = new Set<Rule>();
    const look = ({ rule, peer }: OneOf): void => {
      if (!rules.has(rule) && is(peer, are)) rules.add(rule);
    };
    this.#unconditional.forEach(look);
    for (const text of are) this.#byText.get(text)?.forEach(look);
    const texts = [...rules].map((rule) => this.#texts.get(rule) ?? '');
    const key = [...texts.sort(), ...portTexts(ports)].join('\n');
    return { key, rules, ports, shares: this.#shares(rules) };
  }

  #shares(rules: ReadonlySet<Rule>): readonly Share[] {
    const numbers = new Map<Scope, number[]>();
    for (const rule of rules) {
      const { scope, number = 0 } = this.#places.get(rule) ?? {};
      const own = numbers.get(scope);
      if (own) own.push(number);
      else numbers.set(scope, [number]);
    }
    return [...numbers].map(([scope, own]) => ({
      scope,
      count: own.length,
      key: own.sort((a, b) => a - b).join(),
    }));
  }
}

/** Whether all that a rule says of one end holds for what is known of it. */
export function is({ are, areNot }: Peer, traits: Traits['are']): boolean {
  return are.every(({ text }) => traits.has(text)) && !areNot.some(({ text }) => traits.has(text));
}
