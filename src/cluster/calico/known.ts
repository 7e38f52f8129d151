import { decode } from './decode.ts';
import type { Document } from './document.ts';

/**
 * A document without what `decode` would ignore in it, so that it is read the same where nothing may be
 * ignored. Throws CONFIG_INVALID.
 */
export function knownPart(document: Document): Document {
  const entries = new Set<unknown>();
  const fields = new Map<object, string[]>();
  decode(
    document,
    '',
    (_, entry) => void entries.add(entry),
    (_, source, name) => void fields.set(source, [...(fields.get(source) ?? []), name]),
  );
  const prune = (value: unknown): unknown => {
    if (Array.isArray(value)) return value.filter((each) => !entries.has(each)).map(prune);
    if (typeof value !== 'object' || value === null) return value;
    const known = Object.entries(value).filter(([name]) => !fields.get(value)?.includes(name));
    return Object.fromEntries(known.map(([name, each]) => [name, prune(each)]));
  };
  return { ...document, spec: Object(prune(document.spec)) };
}
