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
import { join } from 'node:path';
import { codeOf, FlatnetError } from '../../error.ts';
import { TYPE } from '../protocol/conf.ts';
import { AGENT_FILE, type AgentPlace } from './agent-file.ts';

/**
 * Puts the shim into a CNI bin folder as `flatnet` and `loopback`, each replaced in one step: a runtime that runs the old one
 * goes on, and none meets a half-written file. By hard link where the file system allows, so that the nodes of a lab
 * share its 110 MB. A `loopback` that someone else installed stays.
 */
export function installPlugins(shim: string, binDir: string): void {
  const source = statOf(shim);
  if (!source) {
    throw new FlatnetError('the CNI executable is missing', {
      code: 'NOT_FOUND',
      object: shim,
      fix: "run 'make shim'",
    });
  }
  mkdirSync(binDir, { recursive: true, mode: 0o755 });
  const main = join(binDir, TYPE);
  const loopback = join(binDir, 'loopback');
  const installed = statOf(main);
  const present = statOf(loopback);
  const ours = !present || (installed !== undefined && sameFile(present, installed));
  if (!installed || !sameContent(installed, source)) {
    replace(main, (temporary) => linkOrCopy(shim, source, temporary));
  }
  if (ours && !isSameFile(loopback, main)) replace(loopback, (temporary) => linkSync(main, temporary));
}

/** Tells the executables of a CNI bin folder where to find the agent. */
export function writeAgentFile(binDir: string, place: AgentPlace): void {
  replace(join(binDir, AGENT_FILE), (temporary) =>
    writeFileSync(temporary, JSON.stringify(place), { mode: 0o644 }),
  );
}

function replace(path: string, make: (temporary: string) => void): void {
  // The nodes of a lab share one folder, and their agents start at the same moment.
  const temporary = `${path}.${process.pid}.new`;
  rmSync(temporary, { force: true });
  make(temporary);
  // Renaming one link to a file over another link to it does nothing, and leaves both.
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

/** A copy keeps the time of what it was made from, to the precision utimes has. */
function sameContent(a: Stats, b: Stats): boolean {
  return sameFile(a, b) || (a.size === b.size && Math.abs(a.mtimeMs - b.mtimeMs) < 1);
}
