import { readFileSync } from 'node:fs';
import { codeOf, type ErrorCode, FlatnetError } from '../error.ts';

const WHY: Readonly<Record<string, string>> = {
  ENOENT: 'there is no such file',
  EISDIR: 'is a folder; name a file in it',
  EACCES: 'may not be read',
};

/** The text of a file somebody named, `-` being standard input. Throws `code`, naming the file. */
export function readText(file: string, code: ErrorCode): string {
  try {
    return readFileSync(file === '-' ? 0 : file, 'utf8');
  } catch (cause) {
    const errno = codeOf(cause) ?? 'EIO';
    throw new FlatnetError(WHY[errno] ?? "can't be read", {
      code,
      object: file,
      cause,
      ...(WHY[errno] ? {} : { errno }),
    });
  }
}
