import { createHash } from 'node:crypto';
import {
  type FSWatcher,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  watch,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { codeOf, messageOf } from '../../error.ts';
import type { CniRequest } from '../context.ts';
import { CniError, CODE } from '../protocol/error.ts';
import type { Invocation } from '../protocol/invocation.ts';

/** A DEL that the shim answered while the agent was away, to be done when the agent is back. */
export type NotedDel = { readonly file: string; readonly request: CniRequest };

const DEFAULT_STATE_DIR = '/var/lib/flatnet';

/** What a note is about. */
type Noted = Pick<Invocation, 'network' | 'containerId' | 'ifName' | 'conf'>;

/** Writes the note atomically. Throws CniError 5 if it can't, upon which the runtime tries again. */
export function noteDel(
  call: Invocation,
  env: Readonly<Record<string, string | undefined>>,
  stdin: string,
  stateDir = DEFAULT_STATE_DIR,
): void {
  const dir = notesDir(stateDir);
  const path = join(dir, nameOf(call));
  const cni = Object.entries(env).filter(([name]) => name.startsWith('CNI_'));
  try {
    mkdirSync(dir, { recursive: true, mode: 0o700 });
    const note = JSON.stringify({ op: 'cni', env: Object.fromEntries(cni), stdin });
    writeFileSync(`${path}.${process.pid}.new`, note, { mode: 0o600 });
    renameSync(`${path}.${process.pid}.new`, path);
  } catch (error) {
    throw new CniError(CODE.IO, `the agent is away and a note can't be left: ${messageOf(error)}`, '', error);
  }
}

/**
 * The notes about one call's attachment, or all notes. Unreadable ones are dropped: nobody could act on them.
 */
export function notedDels(stateDir: string, call?: Noted): NotedDel[] {
  const dir = notesDir(stateDir);
  let names: string[];
  try {
    names = call
      ? [nameOf(call), oldNameOf(call)]
      : readdirSync(dir).filter((name) => name.endsWith('.json'));
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return [];
    throw error;
  }
  return names.flatMap((name) => {
    const file = join(dir, name);
    try {
      return [{ file, request: JSON.parse(readFileSync(file, 'utf8')) as CniRequest }];
    } catch (error) {
      if (codeOf(error) !== 'ENOENT') rmSync(file, { force: true });
      return [];
    }
  });
}

/** Calls `noted` whenever a note may have come, until the watcher is closed. */
export function watchNotedDels(stateDir: string, noted: () => void): FSWatcher {
  const dir = notesDir(stateDir);
  mkdirSync(dir, { recursive: true, mode: 0o700 });
  return watch(dir, { persistent: false }, (_event, name) => {
    if (name?.endsWith('.json')) noted();
  });
}

function notesDir(stateDir: string): string {
  return join(stateDir, 'deleted');
}

/**
 * One note a call: a chain may call us several times for one interface. File systems limit names, which the
 * specification does not: long ones are cut, and the hash tells them apart.
 */
function nameOf({ network, containerId, ifName, conf }: Noted): string {
  const parts = [network, containerId, ifName, String(conf.raw('type') ?? '')].join('\0');
  const hash = createHash('sha256').update(parts).digest('hex').slice(0, 16);
  return `${network.slice(0, 80)}:${containerId.slice(0, 80)}:${ifName}:${hash}.json`;
}

/** The name earlier versions of the plugin used; one of them may still run while a node is being upgraded. */
function oldNameOf({ containerId, ifName }: Noted): string {
  return `${containerId.slice(0, 200)}-${ifName}.json`;
}
