import { stringify } from 'yaml';
import { FlatnetError } from '../../error.ts';
import type { Item } from '../documents.ts';
import { decode } from './decode.ts';
import { type Document, readDocument, titleOf } from './document.ts';

/**
 * Reads and checks all resources of a file, of which there may be none. Throws CONFIG_INVALID naming file,
 * document, resource and field.
 */
export function readResources(items: readonly Item[], filename: string): Document[] {
  const documents = items.map(({ value, where }) => {
    const document = readDocument(value, where);
    decode(document, where);
    return document;
  });
  const titles = documents.map(titleOf);
  const twice = titles.find((title, i) => titles.indexOf(title) !== i);
  if (twice === undefined) return documents;
  throw new FlatnetError(`${twice} is defined twice`, { code: 'CONFIG_INVALID', object: filename });
}

/** Writes YAML that `readResources` reads. */
export function writeManifest(documents: readonly Document[]): string {
  return documents.map((document) => stringify(document, { lineWidth: 0 })).join('---\n');
}
