import { existsSync, mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { FlatnetError } from '../error.ts';
import { umount2 } from '../linux/sys.ts';
import { readSysctl, writeSysctl } from '../linux/sysctl.ts';
import { namesIn, readJson, removeIfEmpty, writeJson } from './files.ts';
import { withLock } from './lock.ts';
import { LABS, LabPaths, RUN } from './paths.ts';

/**
 * The neighbour tables are one for all network namespaces, and 1024 entries are few for 30 nodes with pods ("neighbour
 * table overflow"). Permanent entries do not count; those the pods learn do.
 */
const THRESHOLDS = { gc_thresh1: 8192, gc_thresh2: 16384, gc_thresh3: 32768 };
const NETNS = '/run/netns';
const NOTES = join(RUN, 'machine.json');

/** How this machine was before the first lab. */
type Notes = {
  /** Sysctl values, by path. */
  readonly sysctl: Readonly<Record<string, string>>;
  /** Whether /run/netns was there. */
  readonly netnsFolder: boolean;
};

/** Throws NOT_ROOT. */
export function requireRoot(): void {
  if (process.geteuid?.() === 0) return;
  throw new FlatnetError('a lab makes network namespaces, which only root may', {
    code: 'NOT_ROOT',
    fix: 'run it as root: sudo flatnet lab …',
  });
}

/** Makes the lab's folder; the first lab notes how this machine was, and raises its limits. */
export async function enterMachine(lab: string): Promise<void> {
  await withLock('machine/', async () => {
    const notes = readJson<Notes>(NOTES) ?? { sysctl: {}, netnsFolder: existsSync(NETNS) };
    const low = thresholds().filter(([path, wanted]) => Number(readSysctl(path)) < wanted);
    const before = low.map(([path]) => [path, readSysctl(path)]);
    mkdirSync(new LabPaths(lab).root, { recursive: true, mode: 0o700 });
    writeJson(NOTES, { ...notes, sysctl: { ...Object.fromEntries(before), ...notes.sysctl } });
    for (const [path, wanted] of low) writeSysctl(path, wanted);
  });
}

/** Removes the lab's folder; the last lab puts everything back. */
export async function leaveMachine(lab: string): Promise<void> {
  await withLock('machine/', async () => {
    rmSync(new LabPaths(lab).root, { recursive: true, force: true });
    if (namesIn(LABS).length) return;
    const notes = readJson<Notes>(NOTES);
    for (const [path, value] of Object.entries(notes?.sysctl ?? {})) writeSysctl(path, value);
    if (notes?.netnsFolder === false) removeNetnsFolder();
    rmSync(NOTES, { force: true });
    removeIfEmpty(LABS);
    removeIfEmpty(RUN);
  });
}

/** It was made, as a mount of its own, with the first namespace. It stays when somebody else has namespaces there by now. */
function removeNetnsFolder(): void {
  if (namesIn(NETNS).length) return;
  try {
    umount2(NETNS, 0);
  } catch (error) {
    if (!(error instanceof FlatnetError) || !['EBUSY', 'EINVAL', 'ENOENT'].includes(error.errno ?? ''))
      throw error;
    return;
  }
  removeIfEmpty(NETNS);
}

/** Only the first network namespace has them: elsewhere, such as in a container, they stay as they are. */
function thresholds(): [path: string, wanted: number][] {
  return ['ipv4', 'ipv6'].flatMap((family) =>
    Object.entries(THRESHOLDS)
      .map(([name, wanted]): [string, number] => [`net/${family}/neigh/default/${name}`, wanted])
      .filter(([path]) => existsSync(join('/proc/sys', path))),
  );
}
