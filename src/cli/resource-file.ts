import { type Document, titleOf } from '../cluster/calico/document.ts';
import { readManifest } from '../cluster/calico/manifest.ts';
import { readText } from './read-text.ts';

export type Done = { readonly object: string; readonly outcome: string };

/** Reads `-f FILE`, `-` being standard input. */
export function resourcesOf(file: string): Document[] {
  return readManifest(readText(file, 'CONFIG_INVALID'), file === '-' ? 'standard input' : file);
}

/** Does `work` for each in turn; what had been done before one failed is told on standard error. */
export async function each(
  documents: readonly Document[],
  work: (document: Document) => Promise<string>,
): Promise<Done[]> {
  const done: Done[] = [];
  for (const document of documents) {
    try {
      done.push({ object: titleOf(document), outcome: await work(document) });
    } catch (error) {
      if (done.length > 0) process.stderr.write(`before it failed:\n${doneText(done)}\n`);
      throw error;
    }
  }
  return done;
}

export function doneText(done: readonly Done[]): string {
  return done.map(({ object, outcome }) => `${object} ${outcome}`).join('\n');
}
