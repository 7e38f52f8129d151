export type Change<T> =
  | { readonly type: 'set'; readonly key: string; readonly value: T; readonly before: T | undefined }
  | { readonly type: 'deleted'; readonly key: string; readonly before: T };

/** An object as far as it is kept; undefined when it is not. */
export type Kept<T> = { readonly key: string; readonly version: string; readonly value: T | undefined };

/** What is known of each object of a kind. Every change to it is returned once. */
export class Inventory<T> {
  readonly #values = new Map<string, T>();
  readonly #versions = new Map<string, string>();

  get values(): ReadonlyMap<string, T> {
    return this.#values;
  }

  set({ key, version, value }: Kept<T>): Change<T> | undefined {
    if (value === undefined) return this.delete(key);
    if (this.#versions.get(key) === version) return undefined;
    const before = this.#values.get(key);
    this.#values.set(key, value);
    this.#versions.set(key, version);
    return { type: 'set', key, value, before };
  }

  delete(key: string): Change<T> | undefined {
    const before = this.#values.get(key);
    if (before === undefined) return undefined;
    this.#values.delete(key);
    this.#versions.delete(key);
    return { type: 'deleted', key, before };
  }

  /**
   * Compares with a complete list. What is gone comes first: its name or address may already belong to
   * another object.
   */
  *replaceAll(listed: readonly Kept<T>[]): Generator<Change<T>> {
    const keys = new Set(listed.map(({ key }) => key));
    const gone = [...this.#values.keys()].filter((key) => !keys.has(key));
    for (const key of gone) {
      const change = this.delete(key);
      if (change) yield change;
    }
    for (const each of listed) {
      const change = this.set(each);
      if (change) yield change;
    }
  }
}

/**
 * Whether a version is older than another. They are decimal numbers that grow (KEP-5504); of others nothing
 * is known.
 */
export function isOlder(version: string, other: string): boolean {
  const isNumber = /^\d+$/;
  return isNumber.test(version) && isNumber.test(other) && BigInt(version) < BigInt(other);
}
