import { accessSync, constants } from 'node:fs';
import { codeOf } from '../error.ts';
import * as sys from './sys.ts';

const PATH = '/proc/sys';
const MS_REMOUNT = 0x20;

/**
 * Makes sysctls writable in a container, for which runtimes mount `/proc/sys` read-only. That changes this
 * process's mount namespace alone, and needs CAP_SYS_ADMIN. Does nothing where they are writable.
 * `mount -o remount,bind,rw /proc/sys`
 */
export function makeSysctlsWritable(): void {
  try {
    // A folder of sysctls is never writable, not even to root.
    accessSync(`${PATH}/net/ipv4/ip_forward`, constants.W_OK);
  } catch (error) {
    if (codeOf(error) !== 'EROFS') throw error;
    sys.mount('none', PATH, '', MS_REMOUNT | sys.MS_BIND);
  }
}
