import { stringify } from 'yaml';
import { FlatnetError } from '../../error.ts';
import { readDocuments } from '../documents.ts';
import { decode } from './decode.ts';
import { type Document, readDocument, titleOf } from './document.ts';

/**
 * Reads and checks all resources of a file, or none. Throws CONFIG_INVALID naming file, document, resource
 * and field.
 */
export function readManifest(text: string, filename: string): Document[] {
  const documents = readDocuments(text, filename, 'CONFIG_INVALID').map(({ value, where }) => {
    const document = readDocument(value, where);
    decode(document, where);
    return document;
  });
  if (documents.length === 0) {
    throw new FlatnetError('contains no resource', { code: 'CONFIG_INVALID', object: filename });
  }
  const titles = documents.map(titleOf);
  const twice = titles.find((title, i) => titles.indexOf(title) !== i);
  if (twice === undefined) return documents;
  throw new FlatnetError(`${twice} is defined twice`, { code: 'CONFIG_INVALID', object: filename });
}

/** Writes YAML that `readManifest` reads. */
export function writeManifest(documents: readonly Document[]): string {
  return documents.map((document) => stringify(document, { lineWidth: 0 })).join('---\n');
}
