import type { ErrorCode } from '../error.ts';
import { readYaml } from './yaml.ts';

/** One object of a file. `where` prefixes the names of its fields in errors: `pods.yaml document 2: `. */
export type Item = { readonly value: unknown; readonly where: string };

/**
 * Reads YAML or JSON with any number of documents. A list (`kind: List`, `IPPoolList`), as kubectl and
 * calicoctl print several objects, is expanded into its items; empty documents are skipped. Throws `code`
 * naming file, line and column.
 */
export function readDocuments(text: string, filename: string, code: ErrorCode): Item[] {
  const documents = readYaml(text, filename, code);
  return documents.flatMap(({ value }, i): Item[] => {
    const where = documents.length > 1 ? `${filename} document ${i + 1}: ` : `${filename}: `;
    return value === null ? [] : itemsOf(value, where);
  });
}

function itemsOf(value: unknown, where: string): Item[] {
  const { kind, items } = value as { kind?: unknown; items?: unknown };
  if (typeof kind !== 'string' || !kind.endsWith('List') || !Array.isArray(items)) return [{ value, where }];
  return items.map((item: unknown, i) => ({ value: item, where: `${where}items[${i}]: ` }));
}
