import fs from 'node:fs';
import { codeOf } from '../../error.ts';
import { type Sync, withNetns } from '../../linux/netns.ts';
import { readSysctl, writeSysctl } from '../../linux/sysctl.ts';
import type { Change, Item, KernelState } from '../item.ts';
import { KINDS } from '../kinds/registry.ts';
import type { SysctlKind } from '../protocols/sysctl.ts';
import { asError, type Executor } from './executor.ts';

const kinds = new Map<string, SysctlKind<Item>>();
for (const kind of KINDS) if (kind.executor === 'sysctl') kinds.set(kind.kind, kind);

/** Kernel settings. Rtnetlink reports changes to them: there is nothing else to watch. */
export class Sysctl implements Executor {
  readonly #netns: string | number | undefined;

  constructor(netns: string | number | undefined) {
    this.#netns = netns;
  }

  async read(desired: KernelState): Promise<Item[]> {
    const wanted = [...desired.values()].filter(({ kind }) => kinds.has(kind));
    return this.#inside(() => wanted.map(present).filter((item) => item !== undefined));
  }

  async look(items: readonly Item[]): Promise<(Item | undefined)[]> {
    return this.#inside(() => items.map(present));
  }

  async apply(changes: readonly Change[]): Promise<(Error | undefined)[]> {
    return this.#inside(() => changes.map(({ item }) => write(item)));
  }

  async watch(): Promise<void> {}

  close(): void {}

  #inside<T>(run: () => Sync<T>): Sync<T> | T {
    return this.#netns === undefined ? run() : withNetns(this.#netns, run);
  }
}

/** The setting as it is; undefined if it does not exist. */
function present(item: Item): Item | undefined {
  const kind = kinds.get(item.kind);
  try {
    return kind?.found(item, readSysctl(kind.path(item)));
  } catch (error) {
    if (codeOf(error) !== 'NOT_FOUND') throw error;
    return kind?.mayBeAbsent(item, fs.existsSync('/proc/sys/net/ipv6')) ? item : undefined;
  }
}

function write(item: Item): Error | undefined {
  try {
    const kind = kinds.get(item.kind);
    // To write what is there already costs more than to read it: the kernel tells everybody.
    if (kind && readSysctl(kind.path(item)) !== kind.value(item))
      writeSysctl(kind.path(item), kind.value(item));
    return undefined;
  } catch (error) {
    return asError(error);
  }
}
