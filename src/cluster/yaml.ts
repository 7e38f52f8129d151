import { type Document, isNode, isScalar, LineCounter, parseAllDocuments, visit } from 'yaml';
import { type ErrorCode, FlatnetError, messageOf } from '../error.ts';

/** Tags of values that JSON has too. */
const JSON_TAGS = ['str', 'int', 'float', 'bool', 'null', 'map', 'seq'].map(
  (name) => `tag:yaml.org,2002:${name}`,
);

/** A document's value; `at` is where it begins, as `file:line:column`. */
export type YamlDocument = { readonly value: unknown; readonly at: string };

type Complaint = { readonly text: string; readonly offset: number };

/**
 * Reads YAML 1.2, or JSON, with any number of documents, and returns their values. What would silently become
 * another value than the one written is an error: an unquoted `!has(rr)`, which YAML takes for a tag, keys
 * that occur twice, merge keys, an alias within its own anchor. Throws `code` naming file, line and column.
 */
export function readYaml(text: string, filename: string, code: ErrorCode): YamlDocument[] {
  const lines = new LineCounter();
  const source = text.replace(/^\uFEFF/, '');
  const documents = parseAllDocuments(source, {
    lineCounter: lines,
    prettyErrors: false,
    logLevel: 'silent',
    // Keys are strings in JSON: 1 and "1" are the same.
    uniqueKeys: (a, b) => isScalar(a) && isScalar(b) && String(a.value) === String(b.value),
  });
  // Without any document the library returns an object instead.
  const list = Array.isArray(documents) ? documents : [];
  const at = (offset: number): string => {
    const { line, col } = lines.linePos(offset);
    return `${filename}:${line}:${col}`;
  };
  return list.map((document) => {
    const complaint = complaintOf(document, source);
    if (complaint) throw new FlatnetError(complaint.text, { code, object: at(complaint.offset) });
    try {
      return { value: document.toJS() as unknown, at: at(document.range[0]) };
    } catch (cause) {
      // Aliases that multiply, or an anchor that does not exist.
      throw new FlatnetError(messageOf(cause), { code, object: filename, cause });
    }
  });
}

function complaintOf(document: Document.Parsed, text: string): Complaint | undefined {
  const [error] = document.errors;
  if (error) return { text: error.message, offset: error.pos[0] };
  const { version } = document.directives.yaml;
  if (version !== '1.2')
    return { text: `is YAML ${version}; remove the directive and write YAML 1.2`, offset: 0 };
  const [warning] = document.warnings;
  if (warning) {
    const [offset, end] = warning.pos;
    const isTag = warning.code === 'TAG_RESOLVE_FAILED';
    return { text: isTag ? tagText(text.slice(offset, end)) : warning.message, offset };
  }
  let found: Complaint | undefined;
  const complain = (what: string, node: { readonly range?: readonly number[] | null }): symbol => {
    found = { text: what, offset: node.range?.[0] ?? 0 };
    return visit.BREAK;
  };
  visit(document, {
    Alias: (_, alias, path) => {
      const anchored = alias.resolve(document);
      return anchored && path.includes(anchored)
        ? complain(`*${alias.source} contains itself`, alias)
        : undefined;
    },
    Value: (_, { tag, range }) =>
      tag === undefined || JSON_TAGS.includes(tag)
        ? undefined
        : complain(tagText(tag), { range: range ?? null }),
    Pair: (_, { key }) => {
      if (!isScalar(key)) return complain('is not a key; write a word', isNode(key) ? key : {});
      return key.value === '<<'
        ? complain('merge keys (<<) are not supported; write the fields out', key)
        : undefined;
    },
  });
  return found;
}

function tagText(tag: string): string {
  return `${tag} is a tag in YAML: put the value in quotes`;
}
