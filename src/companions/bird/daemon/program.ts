import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { codeOf, FlatnetError, messageOf } from '../../../error.ts';

const run = promisify(execFile);

/** The first version whose filters can set `onlink` (see its NEWS file), which routes into a tunnel need. */
const OLDEST = '2.0.12';

const INSTALL = `install BIRD ${OLDEST} or newer (Debian: apt-get install bird2)`;

/** Returns the version of the installed BIRD. Throws BIRD when it is missing or too old. */
export async function installedVersion(program: string): Promise<string> {
  const { stderr, stdout } = await execute(program, ['--version']);
  const version = /version (\S+)/.exec(stderr + stdout)?.[1];
  if (version === undefined) {
    throw new FlatnetError('does not report its version', { code: 'BIRD', object: program, fix: INSTALL });
  }
  if (!isNewEnough(version)) {
    throw new FlatnetError(`is version ${version}`, { code: 'BIRD', object: program, fix: INSTALL });
  }
  return version;
}

export function isNewEnough(version: string): boolean {
  return version.localeCompare(OLDEST, 'en', { numeric: true }) >= 0;
}

/** Checks a configuration file, like `bird -p -c FILE`. Throws BIRD with what is wrong. */
export async function checkFile(program: string, file: string): Promise<void> {
  await execute(program, ['-p', '-c', file]);
}

async function execute(
  program: string,
  args: readonly string[],
): Promise<{ stderr: string; stdout: string }> {
  try {
    return await run(program, args, { timeout: 10_000 });
  } catch (cause) {
    const missing = codeOf(cause) === 'ENOENT';
    const stderr = cause instanceof Error && 'stderr' in cause ? String(cause.stderr).trim() : '';
    throw new FlatnetError(missing ? 'is not installed' : stderr || messageOf(cause), {
      code: 'BIRD',
      object: program,
      ...(missing ? { fix: INSTALL } : { operation: args.join(' ') }),
      cause,
    });
  }
}
