import fs from 'node:fs';
import { aborted } from '../../async/pause.ts';
import { codeOf } from '../../error.ts';
import { type Sync, withNetns } from '../../linux/netns.ts';
import { readSysctl, writeSysctl } from '../../linux/sysctl.ts';
import type { Change, Item, KernelState } from '../item.ts';
import { KINDS } from '../kinds/registry.ts';
import type { SysctlKind } from '../protocols/sysctl.ts';
import { asError, type Executor, type Watch } from './executor.ts';

const kinds = new Map<string, SysctlKind<Item>>();
for (const kind of KINDS) if (kind.executor === 'sysctl') kinds.set(kind.kind, kind);

/** Kernel settings. There is nothing to watch: rtnetlink reports changes to them. */
export class Sysctl implements Executor {
  readonly #netns: string | number | undefined;

  constructor(netns: string | number | undefined) {
    this.#netns = netns;
  }

  async read(desired: KernelState): Promise<Item[]> {
    const wanted = [...desired.values()].filter(({ kind }) => kinds.has(kind));
    return this.#inside(() => wanted.map(present).filter((item) => item !== undefined));
  }

  async find(items: readonly Item[]): Promise<(Item | undefined)[]> {
    return this.#inside(() => items.map(present));
  }

  async apply(changes: readonly Change[]): Promise<(Error | undefined)[]> {
    return this.#inside(() => changes.map(({ item }) => write(item)));
  }

  async watch({ signal, onListening }: Watch): Promise<void> {
    onListening();
    await aborted(signal);
  }

  close(): void {}

  #inside<T>(run: () => Sync<T>): Sync<T> | T {
    return this.#netns === undefined ? run() : withNetns(this.#netns, run);
  }
}

/** Reads a setting; undefined if it does not exist. */
function present(item: Item): Item | undefined {
  const kind = kinds.get(item.kind);
  try {
    return kind?.actual(item, readSysctl(kind.path(item)));
  } catch (error) {
    if (codeOf(error) !== 'NOT_FOUND') throw error;
    return kind?.mayBeAbsent(item, hasIpv6(kind.path(item))) ? item : undefined;
  }
}

/** Whether the kernel has IPv6, and the device if the setting is one's: below an MTU of 1280 it has none. */
function hasIpv6(path: string): boolean {
  const dev = /^net\/ipv6\/(?:conf|neigh)\/([^/]+)\//.exec(path)?.[1];
  const exists = (each: string): boolean => fs.existsSync(`/proc/sys/net/${each}`);
  if (!exists('ipv6')) return false;
  return dev === undefined || exists(`ipv6/conf/${dev}`) || !exists(`ipv4/conf/${dev}`);
}

function write(item: Item): Error | undefined {
  const kind = kinds.get(item.kind);
  try {
    // Writing an unchanged value costs more than reading it: the kernel notifies every listener.
    if (kind && readSysctl(kind.path(item)) !== kind.value(item))
      writeSysctl(kind.path(item), kind.value(item));
    return undefined;
  } catch (error) {
    const isMissing = codeOf(error) === 'NOT_FOUND';
    if (isMissing && kind?.mayBeAbsent(item, hasIpv6(kind.path(item)))) return undefined;
    return asError(error);
  }
}
