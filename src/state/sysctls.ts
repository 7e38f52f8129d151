import fs from 'node:fs';
import { codeOf } from '../error.ts';
import { type Sync, withNetns } from '../linux/netns.ts';
import { readSysctl, writeSysctl } from '../linux/sysctl.ts';
import type { KernelState, SysctlItem } from './item.ts';

/** Kernel settings of one network namespace. */
export class Sysctls {
  readonly #netns: string | number | undefined;

  constructor(netns: string | number | undefined) {
    this.#netns = netns;
  }

  /** The wanted settings with the values they have; those that do not exist are left out. */
  read(desired: KernelState): SysctlItem[] {
    const wanted: SysctlItem[] = [];
    for (const item of desired.values()) if (item.kind === 'sysctl') wanted.push(item);
    return this.#inside(() => wanted.flatMap(present));
  }

  write({ path, value }: SysctlItem): Error | undefined {
    try {
      this.#inside(() => writeSysctl(path, value));
      return undefined;
    } catch (error) {
      return error instanceof Error ? error : new Error(String(error));
    }
  }

  #inside<T>(run: () => Sync<T>): Sync<T> | T {
    return this.#netns === undefined ? run() : withNetns(this.#netns, run);
  }
}

function present(item: SysctlItem): SysctlItem[] {
  try {
    return [{ kind: 'sysctl', path: item.path, value: readSysctl(item.path) }];
  } catch (error) {
    if (codeOf(error) !== 'NOT_FOUND') throw error;
    // What is only to be set right where it is wrong is right where it is not; so is all of IPv6 in a kernel without it.
    if (item.when !== undefined) return [item];
    return item.path.startsWith('net/ipv6/') && !fs.existsSync('/proc/sys/net/ipv6') ? [item] : [];
  }
}
