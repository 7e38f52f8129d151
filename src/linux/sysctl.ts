import fs from 'node:fs';
import { codeOf, FlatnetError, messageOf } from '../error.ts';

/**
 * Like `sysctl -n`, but with slashes, so that devices with dots in their names need no quoting:
 * `net/ipv4/conf/flannel.1/forwarding`. Paths below `net` refer to the thread's network namespace, which
 * `withNetns` changes. Throws NOT_FOUND or IO.
 */
export function readSysctl(path: string): string {
  return attempt('sysctl read', path, () => fs.readFileSync(fileOf(path), 'utf8').trim());
}

/** Like `sysctl -w PATH=VALUE`. Throws NOT_FOUND, or IO, with EINVAL if the kernel rejects the value. */
export function writeSysctl(path: string, value: string | number): void {
  attempt('sysctl write', path, () => fs.writeFileSync(fileOf(path), `${value}`));
}

function fileOf(path: string): string {
  if (!/^[a-z]+(\/[^/\0]+)+$/.test(path) || path.split('/').includes('..')) {
    throw new FlatnetError(`'${path}' is not a sysctl path`, {
      code: 'INTERNAL',
      fix: 'use slashes, as in net/ipv4/ip_forward',
    });
  }
  return `/proc/sys/${path}`;
}

function attempt<T>(operation: string, object: string, action: () => T): T {
  try {
    return action();
  } catch (cause) {
    if (cause instanceof FlatnetError) throw cause;
    const errno = codeOf(cause) ?? 'EIO';
    const missing = errno === 'ENOENT';
    throw new FlatnetError(missing ? 'no such sysctl' : messageOf(cause), {
      code: missing ? 'NOT_FOUND' : 'IO',
      operation,
      object,
      errno,
      cause,
    });
  }
}
