import { existsSync, mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { FlatnetError, messageOf } from '../../error.ts';
import { umount2 } from '../../linux/sys.ts';
import { readSysctl, writeSysctl } from '../../linux/sysctl.ts';
import { namesIn, readJson, removeIfEmpty, writeJson } from '../record/files.ts';
import { withLock } from '../record/lock.ts';
import { LABS, LabPaths, RUN } from '../record/paths.ts';

/**
 * All network namespaces share the limits of the neighbour tables, and 1024 entries are too few for 30 nodes
 * with pods ("neighbour table overflow"). Permanent entries do not count; entries that pods learn do.
 */
const THRESHOLDS = { gc_thresh1: 8192, gc_thresh2: 16384, gc_thresh3: 32768 };
/** Each agent uses one, and the usual limit for all of root's processes is 128. */
const INOTIFY: [path: string, wanted: number] = ['fs/inotify/max_user_instances', 1024];
const NETNS = '/run/netns';
const NOTES = join(RUN, 'machine.json');

/** The state of this machine before the first lab. */
type Notes = {
  /** Sysctl values, by path. */
  readonly sysctl: Readonly<Record<string, string>>;
  /** Whether /run/netns existed. */
  readonly netnsFolder: boolean;
};

/**
 * Creates the lab's folder; the first lab records this machine's limits and raises them. Returns an error
 * text for each limit that could not be raised, e.g. with a read-only /proc/sys; only large labs need them.
 */
export async function enterMachine(lab: string): Promise<string[]> {
  return withLock('machine/', async () => {
    let notes = readJson<Notes>(NOTES) ?? { sysctl: {}, netnsFolder: existsSync(NETNS) };
    mkdirSync(new LabPaths(lab).root, { recursive: true, mode: 0o700 });
    writeJson(NOTES, notes);
    const refused: string[] = [];
    for (const [path, wanted] of limits()) {
      const current = readSysctl(path);
      if (Number(current) >= wanted) continue;
      const before = notes;
      notes = { ...notes, sysctl: { [path]: current, ...notes.sysctl } };
      writeJson(NOTES, notes);
      try {
        writeSysctl(path, wanted);
      } catch (error) {
        refused.push(messageOf(error));
        notes = before;
        writeJson(NOTES, notes);
      }
    }
    return refused;
  });
}

/** Removes the lab's folder; the last lab restores the limits. */
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

/**
 * Removes /run/netns, which was created as a separate mount with the first namespace. It stays if it contains
 * other namespaces by now.
 */
function removeNetnsFolder(): void {
  if (namesIn(NETNS).length) return;
  try {
    umount2(NETNS, 0);
  } catch (error) {
    // In use; not a mount; already removed; not permitted.
    const errno = error instanceof FlatnetError ? (error.errno ?? '') : '';
    if (!['EBUSY', 'EINVAL', 'ENOENT', 'EPERM'].includes(errno)) throw error;
  }
  removeIfEmpty(NETNS);
}

/**
 * The sysctls to raise. Only the initial network namespace has the limits of the neighbour tables; elsewhere,
 * e.g. in a container, they stay as they are.
 */
function limits(): [path: string, wanted: number][] {
  const neighbours = ['ipv4', 'ipv6'].flatMap((family) =>
    Object.entries(THRESHOLDS).map(([name, wanted]): [string, number] => [
      `net/${family}/neigh/default/${name}`,
      wanted,
    ]),
  );
  return [...neighbours, INOTIFY].filter(([path]) => existsSync(join('/proc/sys', path)));
}
