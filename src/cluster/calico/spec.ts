import { excerpt } from '../../problem.ts';
import { Fields } from '../fields.ts';

/**
 * The accepted values of a Calico field that flatnet does not support otherwise, and what to do about others.
 */
export type Fixed = { readonly only: readonly unknown[]; readonly why: string };

/**
 * Refuses fields that are not `known`, and values of `fixed` fields that flatnet does not support. Nothing is
 * ignored silently. Throws CONFIG_INVALID naming the field; where `fields` are told of unknown ones, for
 * values alone.
 */
export function refuseOthers(
  fields: Fields,
  known: readonly string[],
  fixed: Readonly<Record<string, Fixed>> = {},
): void {
  for (const [name, value] of Object.entries(fields.source)) {
    if (known.includes(name) || value === null || value === undefined) continue;
    const entry = Object.hasOwn(fixed, name) ? fixed[name] : undefined;
    if (entry === undefined && fields.unknown) {
      fields.unknown(`${fields.path}.${name}`, fields.source, name);
      continue;
    }
    if (entry === undefined) throw fields.invalid(name, unknownText(name, [...known, ...Object.keys(fixed)]));
    if (value === '' || entry.only.some((each) => JSON.stringify(each) === JSON.stringify(value))) continue;
    throw fields.invalid(name, `${excerpt(JSON.stringify(value), 80)} is not supported: ${entry.why}`);
  }
}

function unknownText(name: string, known: readonly string[]): string {
  const meant = known.find((each) => each.toLowerCase() === name.toLowerCase());
  return `is not a known field; ${meant ? `write ${meant}` : `the fields are ${[...known].sort().join(', ')}`}`;
}

/** A string; an empty one counts as absent, as in Go. */
export function text(fields: Fields, name: string): string | undefined {
  return fields.string(name) || undefined;
}

/** A string read by a parser that throws; an empty one counts as absent. */
export function parsed<T>(fields: Fields, name: string, parse: (text: string) => T): T | undefined {
  return text(fields, name) === undefined ? undefined : fields.parsed(name, parse);
}

/** One of the words, matched exactly. */
export function word<T extends string>(fields: Fields, name: string, words: readonly T[]): T | undefined {
  const value = text(fields, name);
  const found = words.find((each) => each === value);
  if (value === undefined || found !== undefined) return found;
  throw fields.invalid(name, `must be ${words.join(' or ')}, not '${value}'`);
}

export function required<T>(fields: Fields, name: string, value: T | undefined): T {
  if (value === undefined) throw fields.invalid(name, 'is missing');
  return value;
}

/** The objects of a list, each named by its index. */
export function objects(fields: Fields, name: string): readonly Fields[] {
  return (fields.list(name) ?? []).map(
    (value, i) => new Fields(value, `${fields.path}.${name}[${i}]`, fields.unknown),
  );
}
