import { existsSync, mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { FlatnetError } from '../error.ts';
import { readSysctl, writeSysctl } from '../linux/sysctl.ts';
import { namesIn, readJson, removeIfEmpty, writeJson } from './files.ts';
import { withLock } from './lock.ts';
import { LABS, LabPaths, RUN } from './paths.ts';

/**
 * The neighbour tables are one for all network namespaces, and 1024 entries are few for 30 nodes with pods ("neighbour
 * table overflow"). Permanent entries do not count; those the pods learn do.
 */
const THRESHOLDS = { gc_thresh1: 8192, gc_thresh2: 16384, gc_thresh3: 32768 };
const SAVED = join(RUN, 'sysctl.json');

/** Throws NOT_ROOT. */
export function requireRoot(): void {
  if (process.geteuid?.() === 0) return;
  throw new FlatnetError('a lab makes network namespaces, which only root may', {
    code: 'NOT_ROOT',
    fix: 'run it as root: sudo flatnet lab …',
  });
}

/** Makes the lab's folder; the first lab raises this machine's limits and notes what they were. */
export async function enterMachine(lab: string): Promise<void> {
  await withLock('machine/', async () => {
    mkdirSync(new LabPaths(lab).root, { recursive: true, mode: 0o700 });
    const saved = readJson<Record<string, string>>(SAVED) ?? {};
    for (const [path, wanted] of thresholds()) {
      const current = readSysctl(path);
      if (Number(current) >= wanted) continue;
      saved[path] ??= current;
      writeJson(SAVED, saved);
      writeSysctl(path, wanted);
    }
  });
}

/** Removes the lab's folder; the last lab puts the limits back. */
export async function leaveMachine(lab: string): Promise<void> {
  await withLock('machine/', async () => {
    rmSync(new LabPaths(lab).root, { recursive: true, force: true });
    if (namesIn(LABS).length) return;
    for (const [path, value] of Object.entries(readJson<Record<string, string>>(SAVED) ?? {})) {
      writeSysctl(path, value);
    }
    rmSync(SAVED, { force: true });
    removeIfEmpty(LABS);
    removeIfEmpty(RUN);
  });
}

/** Only the first network namespace has them: elsewhere, such as in a container, they stay as they are. */
function thresholds(): [path: string, wanted: number][] {
  return ['ipv4', 'ipv6'].flatMap((family) =>
    Object.entries(THRESHOLDS)
      .map(([name, wanted]): [string, number] => [`net/${family}/neigh/default/${name}`, wanted])
      .filter(([path]) => existsSync(join('/proc/sys', path))),
  );
}
