import { readFileSync, readSync } from 'node:fs';
import { codeOf, type ErrorCode, FlatnetError } from '../../error.ts';

const WHY: Readonly<Record<string, string>> = {
  ENOENT: 'no such file',
  EISDIR: 'is a directory; name a file in it',
  EACCES: 'permission denied',
};

/** Returns the text of a file (`-` is standard input). Throws an error with `code` that names the file. */
export function readText(file: string, code: ErrorCode): string {
  try {
    return file === '-' ? readStandardInput() : readFileSync(file, 'utf8');
  } catch (cause) {
    const errno = codeOf(cause) ?? 'EIO';
    throw new FlatnetError(WHY[errno] ?? 'cannot be read', {
      code,
      object: file,
      cause,
      ...(WHY[errno] ? {} : { errno }),
    });
  }
}

/** The other end may have made the pipe non-blocking: EAGAIN then only means that there is no data yet. */
function readStandardInput(): string {
  const chunks: Buffer[] = [];
  for (;;) {
    const chunk = Buffer.alloc(65_536);
    try {
      const length = readSync(0, chunk);
      if (length === 0) return Buffer.concat(chunks).toString('utf8');
      chunks.push(chunk.subarray(0, length));
    } catch (error) {
      if (codeOf(error) !== 'EAGAIN') throw error;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 10);
    }
  }
}
