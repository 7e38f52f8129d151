import { isDeepStrictEqual } from 'node:util';

/** What a store has of one kind, by `namespace/name` or `name`. Equal values stay the same objects. */
export class Table<T extends object> {
  readonly #values = new Map<string, T>();
  #changes = 0;

  get values(): ReadonlyMap<string, T> {
    return this.#values;
  }

  /** How many there have been. */
  get changes(): number {
    return this.#changes;
  }

  /** `value`: undefined for none. Whether that makes a difference. */
  set(key: string, value: T | undefined): boolean {
    if (isDeepStrictEqual(this.#values.get(key), value)) return false;
    if (value === undefined) this.#values.delete(key);
    else this.#values.set(key, value);
    this.#changes++;
    return true;
  }

  /** Whether that makes a difference. */
  replace(all: ReadonlyMap<string, T>): boolean {
    const before = this.#changes;
    for (const key of [...this.#values.keys()]) if (!all.has(key)) this.set(key, undefined);
    for (const [key, value] of all) this.set(key, value);
    return this.#changes !== before;
  }
}
