import { LineCounter, parseAllDocuments } from 'yaml';
import { type ErrorCode, FlatnetError, messageOf } from '../error.ts';

/** One object of a file. `where` prefixes the names of its fields in errors: `pods.yaml document 2: `. */
export type Item = { readonly value: unknown; readonly where: string };

/**
 * Reads YAML or JSON with any number of documents. A list (`kind: List`, `IPPoolList`), as kubectl and
 * calicoctl print several objects, is expanded into its items; empty documents are skipped. Throws `code`
 * naming file, line and column.
 */
export function readDocuments(text: string, filename: string, code: ErrorCode): Item[] {
  const lines = new LineCounter();
  const documents = parseAllDocuments(text.replace(/^\uFEFF/, ''), {
    lineCounter: lines,
    prettyErrors: false,
  });
  // Without any document the library returns an object instead.
  const list = Array.isArray(documents) ? documents : [];
  return list.flatMap((document, i): Item[] => {
    const [error] = document.errors;
    if (error) {
      const { line, col } = lines.linePos(error.pos[0]);
      throw new FlatnetError(error.message, { code, object: `${filename}:${line}:${col}`, cause: error });
    }
    const where = list.length > 1 ? `${filename} document ${i + 1}: ` : `${filename}: `;
    try {
      const value: unknown = document.toJS();
      return value === null ? [] : itemsOf(value, where);
    } catch (cause) {
      // Too deeply nested aliases.
      throw new FlatnetError(messageOf(cause), { code, object: filename, cause });
    }
  });
}

function itemsOf(value: unknown, where: string): Item[] {
  const { kind, items } = value as { kind?: unknown; items?: unknown };
  if (typeof kind !== 'string' || !kind.endsWith('List') || !Array.isArray(items)) return [{ value, where }];
  return items.map((item: unknown, i) => ({ value: item, where: `${where}items[${i}]: ` }));
}
