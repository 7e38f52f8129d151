import { existsSync, mkdirSync, symlinkSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { FALLBACK } from '../../cni/shim/install.ts';
import { FlatnetError } from '../../error.ts';

/** What `make shim` builds. */
const SHIM = resolve(import.meta.dirname, '../../../dist/flatnet-cni');

/** Throws NOT_FOUND. */
export function requirePlugins(): void {
  if (existsSync(SHIM)) return;
  throw new FlatnetError('the CNI executable is missing', {
    code: 'NOT_FOUND',
    object: SHIM,
    fix: "compile it: 'make shim'",
  });
}

/**
 * Fills a node's CNI folder with links to what was built, which its agent then finds installed. Copies could
 * not run where /run is mounted noexec, and one of the fallback would cost 110 MB of memory.
 */
export function linkPlugins(binDir: string): void {
  mkdirSync(binDir, { recursive: true, mode: 0o755 });
  const fallback = join(dirname(SHIM), FALLBACK);
  for (const [name, target] of Object.entries({ flatnet: SHIM, loopback: SHIM, [FALLBACK]: fallback })) {
    const path = join(binDir, name);
    if (!existsSync(path)) symlinkSync(target, path);
  }
}

/** The command line that runs this very flatnet. `bin/flatnet` ends in exec, so its pid is the program's. */
export function flatnetProgram(...args: string[]): string[] {
  return [resolve(import.meta.dirname, '../../../bin/flatnet'), ...args];
}
