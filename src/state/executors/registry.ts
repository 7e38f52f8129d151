import type { MonitorEvent } from '../../linux/event.ts';
import type { KINDS } from '../kinds/registry.ts';
import type { Executor } from './executor.ts';
import { Nftables } from './nftables.ts';
import { Rtnetlink } from './rtnetlink.ts';
import { Sysctl } from './sysctl.ts';

export type ExecutorOptions = {
  /** A path or descriptor of a network namespace; by default the process's own. */
  readonly netns?: string | number | undefined;
  /** Any notification of rtnetlink's. */
  readonly onEvent?: (event: MonitorEvent) => void;
  /** An nftables table that is not ours has changed, or may have. */
  readonly onForeignTable?: () => void;
};

/** One executor for each name that a kind uses. */
type Executors = Readonly<Record<(typeof KINDS)[number]['executor'], Executor>> & {
  readonly rtnetlink: Rtnetlink;
};

/** Throws SYSCALL, or NOT_FOUND if the namespace does not exist. */
export function openExecutors({ netns, onEvent, onForeignTable }: ExecutorOptions): Executors {
  return {
    rtnetlink: new Rtnetlink(netns, onEvent ?? (() => {})),
    sysctl: new Sysctl(netns),
    nftables: new Nftables(netns, onForeignTable ?? (() => {})),
  };
}
