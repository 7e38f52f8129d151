import { hash } from 'node:crypto';
import { type FSWatcher, mkdirSync, readFileSync, rmSync, watch } from 'node:fs';
import { join } from 'node:path';
import { Fields } from '../../cluster/fields.ts';
import { codeOf, messageOf } from '../../error.ts';
import { namesIn } from '../../if-there.ts';
import { replaceFile } from '../../replace-file.ts';
import type { CniRequest } from '../context.ts';
import { CniError, CODE } from '../protocol/error.ts';
import type { Invocation } from '../protocol/invocation.ts';
import { isThere } from './files.ts';

/** A DEL that the shim answered while the agent was unavailable, executed when the agent is back. */
export type NotedDel = { readonly file: string; readonly request: CniRequest };

const DEFAULT_STATE_DIR = '/var/lib/flatnet';

/** Identifies the call that a note records. */
type Noted = Pick<Invocation, 'network' | 'containerId' | 'ifName' | 'conf'>;

/** Writes the note atomically. Throws CniError 5 on failure, so that the runtime retries. */
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
    replaceFile(path, note, { mode: 0o600 });
  } catch (error) {
    throw new CniError(
      CODE.IO,
      `the agent is unavailable and the DEL cannot be noted: ${messageOf(error)}`,
      '',
      error,
    );
  }
}

/**
 * Returns the notes for one call's attachment, or all notes. Deletes those that say nothing: the collection
 * finds what they were about.
 */
export function notedDels(stateDir: string, call?: Noted): NotedDel[] {
  const dir = notesDir(stateDir);
  const names = call
    ? [nameOf(call), oldNameOf(call)]
    : namesIn(dir).filter((name) => name.endsWith('.json'));
  return names.flatMap((name) => {
    const file = join(dir, name);
    try {
      if (!isThere(file)) return [];
      return [{ file, request: decodeNote(readFileSync(file, 'utf8')) }];
    } catch (error) {
      if (codeOf(error) !== 'ENOENT') rmSync(file, { recursive: true, force: true });
      return [];
    }
  });
}

function decodeNote(text: string): CniRequest {
  const fields = new Fields(JSON.parse(text));
  const env = Object.entries(fields.object('env')?.source ?? {}).map(([name, value]) => [
    name,
    String(value),
  ]);
  return { op: 'cni', env: Object.fromEntries(env), stdin: fields.string('stdin') ?? '' };
}

/** Calls `noted` whenever a note may have been added, until the watcher is closed. */
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
 * One note per call, since a chain may call us several times for one interface. File systems limit the length
 * of names, but the specification does not: long ones are truncated, and the hash keeps them unique.
 */
function nameOf({ network, containerId, ifName, conf }: Noted): string {
  const parts = [network, containerId, ifName, String(conf.raw('type') ?? '')].join('\0');
  const unique = hash('sha256', parts).slice(0, 16);
  return `${network.slice(0, 80)}:${containerId.slice(0, 80)}:${ifName}:${unique}.json`;
}

/** The file name used by earlier plugin versions, which may still be running during an upgrade. */
function oldNameOf({ containerId, ifName }: Noted): string {
  return `${containerId.slice(0, 200)}-${ifName}.json`;
}
