import { Option } from 'commander';
import { type Document, titleOf } from '../../cluster/calico/document.ts';
import { readManifest } from '../../cluster/calico/manifest.ts';
import { FlatnetError, messageOf } from '../../error.ts';
import { collect } from './commands.ts';
import { readText } from './read-text.ts';

export type Done = { readonly object: string; readonly outcome: string };

/** Reads each `-f FILE` (`-` is standard input). */
export function resourcesOf(files: readonly string[]): Document[] {
  return files.flatMap((file) =>
    readManifest(readText(file, 'CONFIG_INVALID'), file === '-' ? 'standard input' : file),
  );
}

export function fileOption(what: string): Option {
  const option = new Option('-f, --file <file>', `${what}; - is standard input; may be repeated`);
  return option.argParser(collect((text) => text));
}

/** Does `work` for each document in turn; if one fails, the error lists what was done before. */
export async function each(
  documents: readonly Document[],
  work: (document: Document) => Promise<string>,
): Promise<Done[]> {
  const done: Done[] = [];
  for (const document of documents) {
    try {
      done.push({ object: titleOf(document), outcome: await work(document) });
    } catch (error) {
      if (done.length === 0) throw error;
      throw new FlatnetError(`${messageOf(error)}; already done: ${doneText(done, ', ')}`, {
        code: error instanceof FlatnetError ? error.code : 'INTERNAL',
        cause: error,
      });
    }
  }
  return done;
}

export function doneText(done: readonly Done[], separator = '\n'): string {
  return done.map(({ object, outcome }) => `${object} ${outcome}`).join(separator);
}
