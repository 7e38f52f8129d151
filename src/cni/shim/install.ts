import {
  chmodSync,
  closeSync,
  copyFileSync,
  fsyncSync,
  linkSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  realpathSync,
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

/** Milliseconds. What is older comes from an image. */
const YEAR_2000 = Date.UTC(2000);

/** File name of the TypeScript plugin, which shim.c executes as a fallback from its own directory. */
export const FALLBACK = 'flatnet-fallback';

/** The folder with what the image's fallback needs: Node, its libraries and the plugin itself. */
const COMPANIONS = `${FALLBACK}.d`;

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
  installCompanions(join(dirname(shim), COMPANIONS), join(binDir, COMPANIONS));
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
  if (!installed || !sameContent(to, installed, from, source)) {
    replace(to, (temporary) => linkOrCopy(from, source, temporary));
  }
}

/** Fills the folder beside the fallback, if there is one: its files are links into the image. */
function installCompanions(from: string, to: string): void {
  if (!statOf(from)) return;
  mkdirSync(to, { recursive: true, mode: 0o755 });
  const names = readdirSync(from);
  for (const name of names) install(realpathSync(join(from, name)), join(to, name));
  for (const name of readdirSync(to)) if (!names.includes(name)) rmSync(join(to, name), { force: true });
}

/**
 * Removes from a CNI bin directory what `installPlugins` and `writeAgentFile` put there, and returns the
 * paths. A `loopback` that is not ours stays.
 */
export function removePlugins(binDir: string): string[] {
  const [main, loopback] = [join(binDir, TYPE), join(binDir, 'loopback')];
  const ours = isSameFile(main, loopback) ? [loopback] : [];
  const paths = [...ours, main, ...[AGENT_FILE, FALLBACK, COMPANIONS].map((name) => join(binDir, name))];
  const present = paths.filter(statOf);
  for (const path of present) rmSync(path, { recursive: true });
  return present;
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
    // A machine that loses power must not be left with an empty file under the final name.
    const copy = openSync(target, 'r');
    fsyncSync(copy);
    closeSync(copy);
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

/**
 * Recognises copies by size and modification time, to the precision of utimes; those from an image, in which
 * everything is equally old, by their contents.
 */
function sameContent(pathA: string, a: Stats, pathB: string, b: Stats): boolean {
  if (sameFile(a, b)) return true;
  if (a.size !== b.size || Math.abs(a.mtimeMs - b.mtimeMs) >= 1) return false;
  return b.mtimeMs > YEAR_2000 || readFileSync(pathA).equals(readFileSync(pathB));
}
