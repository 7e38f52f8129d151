import { renameSync, rmSync, writeFileSync } from 'node:fs';
import { open, rename, rm } from 'node:fs/promises';

export type ReplaceOptions = {
  /** Permissions. */
  readonly mode: number;
  /** Whether readers see a whole text even after a power cut. Default: false. */
  readonly flush?: boolean;
};

/**
 * Replaces the file atomically: readers see the old text or the new one in full. A temporary file is left
 * beside it only by a crash.
 */
export function replaceFile(path: string, text: string, { mode, flush = false }: ReplaceOptions): void {
  const temporary = temporaryFor(path);
  try {
    writeFileSync(temporary, text, { mode, flush });
    renameSync(temporary, path);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  }
}

/** Like `replaceFile`, always flushed, without blocking; has that mode whatever the umask. */
export async function replaceFileFlushed(path: string, text: string, mode: number): Promise<void> {
  const temporary = temporaryFor(path);
  try {
    const handle = await open(temporary, 'w', mode);
    try {
      await handle.chmod(mode);
      await handle.writeFile(text);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}

/** In the same folder: containerd misses files moved in from another one (containerd #11711). */
function temporaryFor(path: string): string {
  return `${path}.${process.pid}.new`;
}
