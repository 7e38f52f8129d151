import { FlatnetError, messageOf } from '../error.ts';
import { excerpt } from '../problem.ts';
import { nearest } from './spelling.ts';

/** A key that nobody asked for, by its path, and what to do about it. */
export type Unread = { readonly key: string; readonly fix: string };

/** Gets a key's path, and the object as written that has it under this name. */
export type Unknown = (path: string, source: object, name: string) => void;

/**
 * Reads an object of a configuration the way Go's JSON decoder does for flannel: keys match
 * case-insensitively, unknown keys are ignored, and the last of two spellings wins. Every error names the
 * field by its path and says what to write. A key is known once it has been asked for.
 */
export class Fields {
  readonly #values = new Map<string, unknown>();
  /** As whoever asks spells them, by lower case. */
  readonly #known = new Map<string, string>();
  readonly #objects = new Map<string, Fields>();
  readonly path: string;
  /** Told about keys that nobody knows; absent: they are errors where keys are refused at all. */
  readonly unknown: Unknown | undefined;
  /** The object as written. */
  readonly source: Readonly<Record<string, unknown>>;

  /** `path`: how errors name the object, e.g. `Backend`; empty for the file itself. */
  constructor(value: unknown, path = '', unknown?: Unknown) {
    this.path = path;
    this.unknown = unknown;
    if (typeof value !== 'object' || value === null || Array.isArray(value)) {
      throw invalid(path || 'configuration', `must be an object, not ${describe(value)}`);
    }
    this.source = value as Record<string, unknown>;
    for (const [key, field] of Object.entries(value)) this.#values.set(key.toLowerCase(), field);
  }

  has(name: string): boolean {
    return this.raw(name) !== undefined;
  }

  /** The value as written; `null` counts as absent. */
  raw(name: string): unknown {
    const key = name.toLowerCase();
    this.#known.set(key, name);
    return this.#values.get(key) ?? undefined;
  }

  /** All entries as written, for a reader of its own: none of their keys counts as unread. */
  entries(): [string, unknown][] {
    for (const key of Object.keys(this.source)) this.#known.set(key.toLowerCase(), key);
    return Object.entries(this.source);
  }

  /** The keys nobody has asked for, in this object and those below it. Call it when all is read. */
  unread(): Unread[] {
    const known = [...this.#known.values()];
    const own = Object.keys(this.source)
      .filter((key) => !this.#known.has(key.toLowerCase()))
      .map((key) => ({ key: this.#name(key), fix: proposal(key, known) }));
    return [...own, ...[...this.#objects.values()].flatMap((each) => each.unread())];
  }

  /** For a file of our own, in which an ignored key is a mistake. Throws CONFIG_INVALID naming the key. */
  refuseUnread(): void {
    const [first] = this.unread();
    if (!first) return;
    const { key, fix } = first;
    throw new FlatnetError('is not a known key', { code: 'CONFIG_INVALID', object: key, fix });
  }

  string(name: string): string | undefined {
    const value = this.raw(name);
    if (value === undefined || typeof value === 'string') return value;
    throw this.invalid(name, `must be a string, not ${describe(value)}`);
  }

  boolean(name: string): boolean | undefined {
    const value = this.raw(name);
    if (value === undefined || typeof value === 'boolean') return value;
    throw this.invalid(name, `must be true or false, not ${describe(value)}`);
  }

  /** A whole number within the bounds, inclusive. */
  integer(name: string, min: number, max: number): number | undefined {
    const value = this.raw(name);
    if (value === undefined) return undefined;
    if (typeof value !== 'number' || !Number.isInteger(value) || value < min || value > max) {
      throw this.invalid(name, `must be a whole number from ${min} to ${max}, not ${describe(value)}`);
    }
    return value;
  }

  list(name: string): readonly unknown[] | undefined {
    const value = this.raw(name);
    if (value === undefined || Array.isArray(value)) return value;
    throw this.invalid(name, `must be a list, not ${describe(value)}`);
  }

  object(name: string): Fields | undefined {
    const value = this.raw(name);
    if (value === undefined) return undefined;
    const key = name.toLowerCase();
    const object = this.#objects.get(key) ?? new Fields(value, this.#name(name), this.unknown);
    this.#objects.set(key, object);
    return object;
  }

  /** Reads a string with a parser that throws, e.g. `parseCidr`; the error gets the field's name. */
  parsed<T>(name: string, parse: (text: string) => T): T | undefined {
    const text = this.string(name);
    if (text === undefined) return undefined;
    try {
      return parse(text);
    } catch (error) {
      throw this.invalid(name, messageOf(error), error);
    }
  }

  /** Reads a list of strings with a parser that throws; the error gets the item's name, e.g. `exclude[2]`. */
  parsedList<T>(name: string, parse: (text: string) => T): readonly T[] | undefined {
    return this.list(name)?.map((value, i) => {
      if (typeof value !== 'string')
        throw this.invalid(`${name}[${i}]`, `must be a string, not ${describe(value)}`);
      try {
        return parse(value);
      } catch (error) {
        throw this.invalid(`${name}[${i}]`, messageOf(error), error);
      }
    });
  }

  /** The error for a field of this object. */
  invalid(name: string, text: string, cause?: unknown): FlatnetError {
    return invalid(this.#name(name), text, cause);
  }

  #name(name: string): string {
    return this.path ? `${this.path}.${name}` : name;
  }
}

function proposal(key: string, known: readonly string[]): string {
  const meant = nearest(key, known);
  return meant === undefined ? `the keys are ${known.toSorted().join(', ')}` : `did you mean ${meant}?`;
}

function invalid(object: string, text: string, cause?: unknown): FlatnetError {
  return new FlatnetError(text, { code: 'CONFIG_INVALID', object, cause });
}

function describe(value: unknown): string {
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'a list';
  return typeof value === 'object' ? 'an object' : excerpt(JSON.stringify(value) ?? 'undefined', 60);
}
