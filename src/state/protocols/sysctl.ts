import type { AnyItem, Kind } from '../kind.ts';
import type { Listener } from './rtnetlink.ts';

/** A kind of item that is a file below /proc/sys. Of some of them rtnetlink tells. */
export interface SysctlKind<I extends AnyItem> extends Kind<I>, Listener {
  readonly executor: 'sysctl';
  /** The file's path below /proc/sys. */
  path(item: I): string;
  /** What is to be written. */
  value(item: I): string;
  /** The item that a file says is there. */
  found(wanted: I, value: string): I;
  /** Whether it is right that there is no such file. `hasIpv6`: whether the kernel has IPv6 at all. */
  mayBeAbsent(item: I, hasIpv6: boolean): boolean;
}
