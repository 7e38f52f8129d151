import {
  chmodSync,
  copyFileSync,
  linkSync,
  mkdirSync,
  renameSync,
  rmSync,
  type Stats,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { codeOf, FlatnetError } from '../../error.ts';
import { TYPE } from '../protocol/conf.ts';
import { AGENT_FILE, type AgentPlace } from './agent-file.ts';

/** File name of the TypeScript plugin, which shim.c executes as a fallback from its own directory. */
export const FALLBACK = 'flatnet-fallback';

/**
 * Installs the shim into a CNI bin directory as `flatnet` and `loopback`, with the fallback next to them.
 * Each file is replaced atomically, because runtimes may run it at any time. Uses hard links if the file
 * system allows, so that the nodes of a lab share the fallback's 110 MB. Keeps a foreign `loopback`.
 */
export function installPlugins(shim: string, binDir: string): void {
  mkdirSync(binDir, { recursive: true, mode: 0o755 });
  const main = join(binDir, TYPE);
  const loopback = join(binDir, 'loopback');
  const installed = statOf(main);
  const present = statOf(loopback);
  const ours = !present || (installed !== undefined && sameFile(present, installed));
  // The fallback first: the shim may need it as soon as it is installed.
  install(join(dirname(shim), FALLBACK), join(binDir, FALLBACK));
  install(shim, main);
  if (ours && !isSameFile(loopback, main)) replace(loopback, (temporary) => linkSync(main, temporary));
}

function install(from: string, to: string): void {
  const source = statOf(from);
  if (!source) {
    throw new FlatnetError('the CNI executable is missing', {
      code: 'NOT_FOUND',
      object: from,
      fix: "run 'make shim'",
    });
  }
  const installed = statOf(to);
  if (!installed || !sameContent(installed, source)) {
    replace(to, (temporary) => linkOrCopy(from, source, temporary));
  }
}

/** Writes the file that tells the executables in a CNI bin directory where to find the agent. */
export function writeAgentFile(binDir: string, place: AgentPlace): void {
  replace(join(binDir, AGENT_FILE), (temporary) =>
    writeFileSync(temporary, JSON.stringify(place), { mode: 0o644 }),
  );
}

function replace(path: string, make: (temporary: string) => void): void {
  // Agents on one machine may share the directory and start at the same time.
  const temporary = `${path}.${process.pid}.new`;
  rmSync(temporary, { force: true });
  make(temporary);
  // Renaming a link over another link to the same file does nothing and leaves both.
  renameSync(temporary, path);
  rmSync(temporary, { force: true });
}

function linkOrCopy(source: string, stat: Stats, target: string): void {
  try {
    linkSync(source, target);
  } catch (error) {
    // Another file system, or one without hard links.
    if (!['EXDEV', 'EPERM', 'EMLINK', 'ENOTSUP'].includes(codeOf(error) ?? '')) throw error;
    copyFileSync(source, target);
    chmodSync(target, 0o755);
    utimesSync(target, stat.atime, stat.mtime);
  }
}

function statOf(path: string): Stats | undefined {
  return statSync(path, { throwIfNoEntry: false });
}

function isSameFile(a: string, b: string): boolean {
  const [first, second] = [statOf(a), statOf(b)];
  return first !== undefined && second !== undefined && sameFile(first, second);
}

function sameFile(a: Stats, b: Stats): boolean {
  return a.dev === b.dev && a.ino === b.ino;
}

/** Recognises copies by size and modification time, to the precision of utimes. */
function sameContent(a: Stats, b: Stats): boolean {
  return sameFile(a, b) || (a.size === b.size && Math.abs(a.mtimeMs - b.mtimeMs) < 1);
}
