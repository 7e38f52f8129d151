import { existsSync, mkdirSync, symlinkSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { FALLBACK } from '../../cni/shim/install.ts';
import { FlatnetError } from '../../error.ts';
import { INSTALLATION } from '../../installation.ts';

const { shim: SHIM } = INSTALLATION;

/** Throws NOT_FOUND if the CNI executable has not been built. */
export function requirePlugins(): void {
  if (existsSync(SHIM)) return;
  throw new FlatnetError('the CNI executable is missing', {
    code: 'NOT_FOUND',
    object: SHIM,
    fix: "build it: 'make shim'",
  });
}

/** util-linux's, which make pods' sandboxes and containers. */
const POD_PROGRAMS = ['unshare', 'nsenter'];

/** Throws NOT_FOUND if a program that every pod needs is not installed. */
export function requirePodPrograms(path = process.env.PATH ?? ''): void {
  const folders = path.split(delimiter);
  const missing = POD_PROGRAMS.find((name) => !folders.some((folder) => existsSync(join(folder, name))));
  if (missing === undefined) return;
  throw new FlatnetError('is not installed; pods need it', {
    code: 'NOT_FOUND',
    object: missing,
    fix: 'install util-linux',
  });
}

/**
 * Fills a node's CNI folder with links to the built executables, so that the agent finds them installed.
 * Copies would not run where /run is mounted noexec, and a copy of the fallback would take 110 MB of memory.
 */
export function linkPlugins(binDir: string): void {
  mkdirSync(binDir, { recursive: true, mode: 0o755 });
  const fallback = join(dirname(SHIM), FALLBACK);
  for (const [name, target] of Object.entries({ flatnet: SHIM, loopback: SHIM, [FALLBACK]: fallback })) {
    const path = join(binDir, name);
    if (!existsSync(path)) symlinkSync(target, path);
  }
}

/** Returns the command line of this same flatnet. */
export function flatnetProgram(...args: string[]): string[] {
  return [INSTALLATION.program, ...args];
}
