import type { Entity } from '../model/entity.ts';
import type { EntityMatcher } from '../model/matcher.ts';

/** The conditions that entities fulfil by what they are, remembered as long as one is the same object. */
export class Selection {
  readonly #matchers: readonly EntityMatcher[];
  readonly #found = new WeakMap<Entity, readonly string[]>();
  readonly #interned = new Map<string, readonly string[]>();

  constructor(matchers: readonly EntityMatcher[]) {
    this.#matchers = matchers;
  }

  /** Texts of conditions; the same object for the same ones. */
  of(entity: Entity): readonly string[] {
    const known = this.#found.get(entity);
    if (known) return known;
    const texts = this.#matchers.flatMap(({ text, selects }) => (selects(entity) ? [text] : []));
    const key = texts.join('\n');
    const interned = this.#interned.get(key) ?? texts;
    this.#interned.set(key, interned);
    this.#found.set(entity, interned);
    return interned;
  }
}
