import { readFile } from 'node:fs/promises';
import { ioError } from '../../error.ts';

/** Milliseconds for which a file's content is used without reading it again. */
const MAX_AGE = 10_000;

/** A small file that another program replaces from time to time, such as a token of a service account. */
export class FreshFile {
  readonly #path: string;
  #content: { readonly text: string; readonly readAt: number } | undefined;

  constructor(path: string) {
    this.#path = path;
  }

  /** Returns content no older than ten seconds; older content if the file cannot be read now. Throws IO. */
  async text(): Promise<string> {
    const last = this.#content;
    if (last && performance.now() - last.readAt < MAX_AGE) return last.text;
    try {
      const text = await readFile(this.#path, 'utf8');
      this.#content = { text, readAt: performance.now() };
      return text;
    } catch (error) {
      if (last) return last.text;
      throw ioError('read', this.#path, error);
    }
  }

  /** Makes the next call read the file. */
  forget(): void {
    if (this.#content) this.#content = { ...this.#content, readAt: Number.NEGATIVE_INFINITY };
  }
}
