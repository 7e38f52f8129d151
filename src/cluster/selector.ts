import { FlatnetError } from '../error.ts';

export type Labels = Readonly<Record<string, string>>;
export type Selector = (labels: Labels) => boolean;
/** What the words `all()` and `global()` stand for. */
type Words = Readonly<Record<'all' | 'global', Selector>>;

const EVERYTHING: Words = { all: () => true, global: () => true };

/** Limits recursion. */
const MAX_DEPTH = 100;

const SPACE = /[ \t]*/y;
const LABEL = /[a-zA-Z0-9_./-]{1,512}/y;
/** Either quote; neither can be escaped. */
const STRING = /"([^"]*)"|'([^']*)'/y;
const FUNCTION = /(has|all|global)\([ \t]*/y;
const OPERATOR = /==|!=|in|not[ \t]*in|contains|starts[ \t]*with|ends[ \t]*with/y;

/**
 * Reads a selector over labels in Calico's language: `all()`, `global()`, `has(k)`, `k == 'v'`, `!=`, `in
 * {'a', 'b'}`, `not in {…}`, `contains`, `starts with`, `ends with`, joined by `!`, `&&`, `||` (in this order
 * of precedence) and parentheses. A missing label differs from every value: `!=` and `not in` hold. An empty
 * selector selects everything, and so do both words unless `words` says otherwise. Throws CONFIG_INVALID with
 * the position, counted from 1.
 */
export function parseSelector(text: string, words: Words = EVERYTHING): Selector {
  const parser = new Parser(text, words);
  if (parser.atEnd) return () => true;
  const selector = parser.or(0);
  if (!parser.atEnd) throw parser.expected("'&&', '||' or the end");
  return selector;
}

class Parser {
  readonly #text: string;
  readonly #words: Words;
  #at = 0;

  constructor(text: string, words: Words) {
    this.#text = text;
    this.#words = words;
    this.#match(SPACE);
  }

  get atEnd(): boolean {
    return this.#at === this.#text.length;
  }

  or(depth: number): Selector {
    const terms = [this.#and(depth)];
    while (this.#take('||')) terms.push(this.#and(depth));
    const [only] = terms;
    return only && terms.length === 1 ? only : (labels) => terms.some((term) => term(labels));
  }

  #and(depth: number): Selector {
    const terms = [this.#operation(depth)];
    while (this.#take('&&')) terms.push(this.#operation(depth));
    const [only] = terms;
    return only && terms.length === 1 ? only : (labels) => terms.every((term) => term(labels));
  }

  #operation(depth: number): Selector {
    let negated = false;
    while (this.#take('!')) negated = !negated;
    const operand = this.#operand(depth);
    return negated ? (labels) => !operand(labels) : operand;
  }

  #operand(depth: number): Selector {
    if (this.#take('(')) {
      if (depth === MAX_DEPTH) throw this.#error(`more than ${MAX_DEPTH} nested parentheses`);
      const inner = this.or(depth + 1);
      this.#require(')');
      return inner;
    }
    const named = this.#match(FUNCTION)?.[1];
    if (named === 'has') {
      const label = this.#label();
      this.#require(')');
      return (labels) => Object.hasOwn(labels, label);
    }
    if (named === 'all' || named === 'global') {
      this.#require(')');
      return this.#words[named];
    }
    return this.#comparison(this.#label());
  }

  #comparison(label: string): Selector {
    const operator = this.#match(OPERATOR)?.[0].replace(/[ \t]/g, '');
    if (operator === undefined) {
      throw this.expected(`==, !=, in, not in, contains, starts with or ends with after '${label}'`);
    }
    const labelled = (labels: Labels): string | undefined =>
      Object.hasOwn(labels, label) ? labels[label] : undefined;
    if (operator === 'in' || operator === 'notin') {
      const set = this.#set();
      const isIn = (labels: Labels): boolean => {
        const value = labelled(labels);
        return value !== undefined && set.has(value);
      };
      return operator === 'in' ? isIn : (labels) => !isIn(labels);
    }
    const text = this.#string();
    switch (operator) {
      case '==':
        return (labels) => labelled(labels) === text;
      case '!=':
        return (labels) => labelled(labels) !== text;
      case 'contains':
        return (labels) => labelled(labels)?.includes(text) ?? false;
      case 'startswith':
        return (labels) => labelled(labels)?.startsWith(text) ?? false;
      default:
        return (labels) => labelled(labels)?.endsWith(text) ?? false;
    }
  }

  /** May be empty, and may end with a comma. */
  #set(): ReadonlySet<string> {
    this.#require('{');
    const values = new Set<string>();
    while (!this.#take('}')) {
      values.add(this.#string());
      if (this.#take(',')) continue;
      this.#require('}');
      break;
    }
    return values;
  }

  #label(): string {
    const label = this.#match(LABEL)?.[0];
    if (label === undefined) throw this.expected('a label, has(…), all() or (');
    return label;
  }

  #string(): string {
    const match = this.#match(STRING);
    if (!match) throw this.expected('a text in quotes');
    return match[1] ?? match[2] ?? '';
  }

  #require(token: string): void {
    if (!this.#take(token)) throw this.expected(`'${token}'`);
  }

  #take(token: string): boolean {
    if (!this.#text.startsWith(token, this.#at)) return false;
    this.#at += token.length;
    this.#match(SPACE);
    return true;
  }

  /** Matches at the current position, and consumes the match and the space after it. */
  #match(pattern: RegExp): RegExpExecArray | null {
    pattern.lastIndex = this.#at;
    const match = pattern.exec(this.#text);
    if (!match) return null;
    this.#at += match[0].length;
    if (pattern !== SPACE) this.#match(SPACE);
    return match;
  }

  expected(what: string): FlatnetError {
    const found = this.atEnd
      ? 'the selector ends'
      : `there is '${this.#text.slice(this.#at, this.#at + 10)}'`;
    return this.#error(`expected ${what}, but ${found}`);
  }

  #error(text: string): FlatnetError {
    const shown = this.#text.length > 80 ? `${this.#text.slice(0, 80)}…` : this.#text;
    return new FlatnetError(`${text} at position ${this.#at + 1} of '${shown}'`, {
      code: 'CONFIG_INVALID',
    });
  }
}
