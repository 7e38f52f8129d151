import { FlatnetError } from '../../../error.ts';

/** Receives a warning for each field of a manifest that a lab ignores. */
export type Warn = (text: string) => void;

/** Fields that are safe to ignore: they do not affect the network, or a lab behaves that way anyway. */
const ASIDE = new Set([
  'annotations',
  'creationTimestamp',
  'dnsPolicy',
  'generation',
  'imagePullPolicy',
  'managedFields',
  'minReadySeconds',
  'progressDeadlineSeconds',
  'resourceVersion',
  'resources',
  'restartPolicy',
  'revisionHistoryLimit',
  'schedulerName',
  'status',
  'strategy',
  'terminationGracePeriodSeconds',
  'terminationMessagePath',
  'terminationMessagePolicy',
  'tolerations',
  'uid',
  'updateStrategy',
]);

/**
 * An object in a manifest. Errors name its place in the file; `finish` warns about fields that were not read.
 */
export class ManifestFields {
  readonly path: string;
  readonly #values: Readonly<Record<string, unknown>>;
  readonly #read = new Set<string>();
  readonly #warn: Warn;

  /** `path`: e.g. `web.yaml document 2: spec.template`. */
  constructor(value: unknown, path: string, warn: Warn) {
    this.path = path;
    this.#warn = warn;
    if (typeof value !== 'object' || value === null || Array.isArray(value)) {
      throw invalid(path.replace(/: $/, ''), `must be an object, not ${kindOf(value)}`);
    }
    this.#values = value as Record<string, unknown>;
  }

  raw(name: string): unknown {
    this.#read.add(name);
    return this.#values[name] ?? undefined;
  }

  string(name: string): string | undefined {
    const value = this.raw(name);
    if (value === undefined || typeof value === 'string') return value;
    throw this.invalid(name, `must be a string, not ${kindOf(value)}; put it in quotes`);
  }

  required(name: string): string {
    const value = this.string(name);
    if (value) return value;
    throw this.invalid(name, 'is missing');
  }

  integer(name: string, min: number, max: number): number | undefined {
    const value = this.raw(name);
    if (value === undefined) return undefined;
    if (typeof value === 'number' && Number.isInteger(value) && value >= min && value <= max) return value;
    throw this.invalid(name, `must be a whole number from ${min} to ${max}, not ${JSON.stringify(value)}`);
  }

  object(name: string): ManifestFields | undefined {
    const value = this.raw(name);
    return value === undefined ? undefined : new ManifestFields(value, this.nameOf(name), this.#warn);
  }

  objects(name: string): ManifestFields[] {
    return this.list(name).map(
      (value, i) => new ManifestFields(value, `${this.nameOf(name)}[${i}]`, this.#warn),
    );
  }

  strings(name: string): string[] | undefined {
    if (this.raw(name) === undefined) return undefined;
    return this.list(name).map((value, i) => {
      if (typeof value === 'string') return value;
      throw this.invalid(`${name}[${i}]`, `must be a string, not ${kindOf(value)}; put it in quotes`);
    });
  }

  /** A map of strings, e.g. labels. */
  map(name: string): Record<string, string> {
    const value = this.raw(name) ?? {};
    if (typeof value !== 'object' || value === null || Array.isArray(value)) {
      throw this.invalid(name, `must be an object of strings, not ${kindOf(value)}`);
    }
    return Object.fromEntries(
      Object.entries(value).map(([key, text]) => {
        if (typeof text === 'string') return [key, text];
        throw this.invalid(`${name}.${key}`, `must be a string, not ${kindOf(text)}; put it in quotes`);
      }),
    );
  }

  list(name: string): readonly unknown[] {
    const value = this.raw(name) ?? [];
    if (Array.isArray(value)) return value;
    throw this.invalid(name, `must be a list, not ${kindOf(value)}`);
  }

  /** Warns about every field that has not been read. */
  finish(): void {
    for (const name of Object.keys(this.#values)) {
      if (!this.#read.has(name) && !ASIDE.has(name)) this.#warn(`${this.nameOf(name)} is ignored`);
    }
  }

  warn(name: string, text: string): void {
    this.#warn(`${this.nameOf(name)} ${text}`);
  }

  invalid(name: string, text: string): FlatnetError {
    return invalid(this.nameOf(name), text);
  }

  nameOf(name: string): string {
    return this.path.endsWith(': ') ? `${this.path}${name}` : `${this.path}.${name}`;
  }
}

export function invalid(object: string, text: string): FlatnetError {
  return new FlatnetError(text, { code: 'MANIFEST_INVALID', object });
}

function kindOf(value: unknown): string {
  if (value === null || value === undefined) return 'nothing';
  if (Array.isArray(value)) return 'a list';
  return typeof value === 'object' ? 'an object' : JSON.stringify(value);
}

/**
 * Checks a name with a function that throws NAME_INVALID, and adds the name's place in the manifest to the
 * error.
 */
export function checked(
  fields: ManifestFields,
  field: string,
  name: string,
  check: (name: string) => string,
): string {
  try {
    return check(name);
  } catch (error) {
    if (!(error instanceof FlatnetError) || error.code !== 'NAME_INVALID') throw error;
    throw fields.invalid(field, error.message);
  }
}
