import { spawn } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { join } from 'node:path';
import { pause } from '../async/pause.ts';
import { codeOf, FlatnetError } from '../error.ts';
import { withNetns } from '../linux/netns.ts';

export type Command = 'ADD' | 'DEL' | 'CHECK' | 'GC' | 'STATUS' | 'VERSION';

export type ExecOptions = {
  /** Folders with plugin executables; the first match wins. */
  readonly binDirs: readonly string[];
  /** Path of the node's network namespace if it is not the caller's own. */
  readonly nodeNetns?: string;
  /** Milliseconds until the plugin is killed; default 60,000. */
  readonly timeout?: number;
};

/**
 * Runs one plugin; returns its parsed output, or undefined if it printed nothing. Throws CNI; the error's
 * cause is the plugin's error object (`{ code, msg, details }`) if there was one.
 */
export async function execPlugin(
  type: string,
  env: Readonly<Record<string, string>> & { readonly CNI_COMMAND: Command },
  stdin: string,
  options: ExecOptions,
  signal?: AbortSignal,
): Promise<unknown> {
  const path = findPlugin(type, options.binDirs);
  const { stdout, stderr, exit } = await retryBusy(() => exec(path, env, stdin, options, signal));
  const failed = (text: string, cause?: unknown): FlatnetError =>
    new FlatnetError(text, { code: 'CNI', operation: `${type} ${env.CNI_COMMAND}`, cause });
  const printed = stdout.trim();
  if (exit !== 0) {
    const error = parse(printed);
    if (isErrorObject(error)) {
      throw failed([error.msg, error.details].filter(Boolean).join('; '), error);
    }
    throw failed(printed || stderr.trim() || `exited with ${exit} and no message`);
  }
  if (!printed) return undefined;
  const result = parse(printed);
  if (result === undefined) throw failed(`printed something other than JSON: ${printed.slice(0, 200)}`);
  return result;
}

export function findPlugin(type: string, binDirs: readonly string[]): string {
  for (const dir of type.includes('/') ? [] : binDirs) {
    const path = join(dir, type);
    try {
      accessSync(path, constants.X_OK);
      return path;
    } catch {
      // Not in this folder: try the next.
    }
  }
  throw new FlatnetError(`no plugin '${type}' in ${binDirs.join(':')}`, { code: 'NOT_FOUND' });
}

type Output = { readonly stdout: string; readonly stderr: string; readonly exit: number | string };

function exec(
  path: string,
  env: Readonly<Record<string, string>>,
  stdin: string,
  options: ExecOptions,
  signal: AbortSignal | undefined,
): Promise<Output> {
  const start = () =>
    spawn(path, [], {
      env: { ...process.env, ...env },
      stdio: 'pipe',
      timeout: options.timeout ?? 60_000,
      killSignal: 'SIGKILL',
      ...(signal ? { signal } : {}),
    });
  // A child starts in the namespace of the thread that forks it.
  const child = options.nodeNetns ? withNetns(options.nodeNetns, start) : start();
  const { promise, resolve, reject } = Promise.withResolvers<Output>();
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  child.on('error', reject);
  child.on('close', (code, killedBy) => resolve({ stdout, stderr, exit: code ?? killedBy ?? 'no status' }));
  // A plugin may exit without reading its input; only its exit status matters.
  child.stdin.on('error', () => undefined);
  child.stdin.end(stdin);
  return promise;
}

/** Retries while a plugin is being replaced in place and cannot run (ETXTBSY), as libcni does. */
async function retryBusy(run: () => Promise<Output>): Promise<Output> {
  for (let tries = 1; ; tries++) {
    try {
      return await run();
    } catch (error) {
      if (codeOf(error) !== 'ETXTBSY' || tries === 5) throw error;
      await pause(1000);
    }
  }
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function isErrorObject(value: unknown): value is { code: number; msg: string; details?: string } {
  return (
    typeof value === 'object' &&
    value !== null &&
    'code' in value &&
    'msg' in value &&
    typeof value.msg === 'string'
  );
}
