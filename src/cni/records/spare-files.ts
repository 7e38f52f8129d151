import { closeSync, constants, ftruncateSync, openSync, renameSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { codeOf } from '../../error.ts';

const { O_CREAT, O_RDWR } = constants;

/** As many as pods of a busy node go in a minute. */
const MOST = 64;

/**
 * Keeps files that are removed for those that are created next. To create a file, ext4 looks for a free inode
 * past all that were freed in the last minutes (recently_deleted): 0.3 ms where pods come and go, and 0.02 ms
 * with a spare file. A file appears under its name when it is whole.
 */
export class SpareFiles {
  readonly #dir: string;
  /** Those there are: `spare.0` and so on. */
  #count = 0;

  constructor(dir: string) {
    this.#dir = dir;
  }

  create(path: string, text: string): void {
    // Without a spare file this makes one, unless an earlier process left one of that name.
    const spare = this.#name(Math.max(0, this.#count - 1));
    writeOver(spare, text);
    renameSync(spare, path);
    this.#count = Math.max(0, this.#count - 1);
  }

  /** Nothing if there is no such file. */
  remove(path: string): void {
    if (this.#count >= MOST) {
      rmSync(path, { force: true });
      return;
    }
    try {
      renameSync(path, this.#name(this.#count));
      this.#count++;
    } catch (error) {
      if (codeOf(error) !== 'ENOENT') throw error;
    }
  }

  #name(n: number): string {
    return join(this.#dir, `spare.${n}`);
  }
}

/**
 * Overwrites in place, or creates. O_TRUNC and renaming over a file make ext4 write to disk at once
 * (auto_da_alloc).
 */
export function writeOver(path: string, text: string): void {
  const fd = openSync(path, O_RDWR | O_CREAT, 0o600);
  try {
    ftruncateSync(fd, writeSync(fd, text, 0));
  } finally {
    closeSync(fd);
  }
}
