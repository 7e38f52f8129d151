import { mkdirSync, readFileSync, rmdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { codeOf } from '../../error.ts';
import { namesIn as unsorted } from '../../if-there.ts';
import { replaceFile } from '../../replace-file.ts';

/** Replaces the file atomically: readers see the old text or the new one. Creates its folder if needed. */
export function writeFile(path: string, text: string): void {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  replaceFile(path, text, { mode: 0o600 });
}

export function writeJson(path: string, value: unknown): void {
  writeFile(path, `${JSON.stringify(value, null, 2)}\n`);
}

/**
 * Returns undefined if the file does not exist or is not JSON: ours are written atomically, so such a file is
 * not ours.
 */
export function readJson<T>(path: string): T | undefined {
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as T;
  } catch (error) {
    if (codeOf(error) === 'ENOENT' || error instanceof SyntaxError) return undefined;
    throw error;
  }
}

/** Returns the names in a folder, sorted; none if the folder does not exist. */
export function namesIn(dir: string): string[] {
  return unsorted(dir).sort();
}

/** Removes a folder unless it has contents or a mount on it. */
export function removeIfEmpty(dir: string): void {
  try {
    rmdirSync(dir);
  } catch (error) {
    if (!['EBUSY', 'ENOENT', 'ENOTEMPTY'].includes(codeOf(error) ?? '')) throw error;
  }
}

/**
 * Returns the last non-empty lines of a log; lines of JSON are reduced to their message. Empty if there is no
 * log.
 */
export function lastLines(path: string, count: number): string {
  try {
    const lines = readFileSync(path, 'utf8')
      .split('\n')
      .filter((line) => line.trim() !== '');
    return lines.slice(-count).map(plain).join('\n');
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return '';
    throw error;
  }
}

/** Renders a log line of pino as plain text. */
function plain(line: string): string {
  try {
    const { msg, error, err, problem } = JSON.parse(line);
    return [msg, problem, error ?? err?.message].filter(Boolean).join(': ') || line;
  } catch {
    return line;
  }
}
