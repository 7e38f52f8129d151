import type { AnyItem, Kind } from '../kind.ts';
import type { Listener } from './rtnetlink.ts';

/** A kind of item that is a file below /proc/sys. Rtnetlink reports changes to some of them. */
export interface SysctlKind<I extends AnyItem> extends Kind<I>, Listener {
  readonly executor: 'sysctl';
  /** The file's path below /proc/sys. */
  path(item: I): string;
  /** The value to write. */
  value(item: I): string;
  /** The item for a file's current value. */
  actual(wanted: I, value: string): I;
  /** Whether the file may be missing. `hasIpv6`: whether the kernel and the setting's device have IPv6. */
  mayBeAbsent(item: I, hasIpv6: boolean): boolean;
}
