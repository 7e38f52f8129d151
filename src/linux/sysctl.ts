import fs from 'node:fs';
import { codeOf, FlatnetError, messageOf } from '../error.ts';

/**
 * Like `sysctl -n`, but with slashes, so that devices with dots in their names need no quoting:
 * `net/ipv4/conf/flannel.1/forwarding`. Below `net` it belongs to the thread's network namespace, so inside
 * `withNetns` to that one. Throws NOT_FOUND or IO.
 */
export function readSysctl(path: string): string {
  return attempt('sysctl read', path, () => fs.readFileSync(fileOf(path), 'utf8').trim());
}

/** Like `sysctl -w PATH=VALUE`. The kernel refuses a value with EINVAL. Throws NOT_FOUND or IO. */
export function writeSysctl(path: string, value: string | number): void {
  attempt('sysctl write', path, () => fs.writeFileSync(fileOf(path), `${value}`));
}

function fileOf(path: string): string {
  if (!/^[a-z]+(\/[^/\0]+)+$/.test(path) || path.split('/').includes('..')) {
    throw new FlatnetError(`'${path}' is not the path of a sysctl`, {
      code: 'INTERNAL',
      fix: 'write it with slashes, as net/ipv4/ip_forward',
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
    throw new FlatnetError(missing ? 'there is no such sysctl here' : messageOf(cause), {
      code: missing ? 'NOT_FOUND' : 'IO',
      operation,
      object,
      errno,
      cause,
    });
  }
}
