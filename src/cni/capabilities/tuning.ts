import type { Fields } from '../../cluster/fields.ts';

/** What the configuration sets in a pod's namespace, with the keys of the reference plugin `tuning`. */
export type Tuning = {
  /** Paths below /proc/sys, with slashes; values as written there. */
  readonly sysctls: readonly (readonly [path: string, value: string])[];
  readonly promisc?: boolean;
  readonly allmulti?: boolean;
  /** Packets. */
  readonly txQueueLength?: number;
};

const SEGMENT = /^[A-Za-z0-9_.:@-]+$/;
const MAX_I32 = 0x7fffffff;

/**
 * Returns what the configuration's `sysctl`, `promisc`, `allmulti` and `txQLen` ask for; `mtu` and `mac` are
 * the wiring's. Only settings below `net` belong to a pod's namespace. Throws CONFIG_INVALID naming the
 * field.
 */
export function readTuning(conf: Fields, ifName: string): Tuning {
  const sysctl = conf.object('sysctl');
  const sysctls = (sysctl?.entries() ?? []).map(([key, value]) => {
    if (typeof value !== 'string') throw conf.invalid(`sysctl.${key}`, 'must be a string');
    const path = pathOf(key, ifName);
    if (path === undefined) throw conf.invalid(`sysctl.${key}`, 'is not a setting below net');
    return [path, value] as const;
  });
  const promisc = conf.boolean('promisc');
  const allmulti = conf.boolean('allmulti');
  const txQueueLength = conf.integer('txQLen', 0, MAX_I32);
  return {
    sysctls,
    ...(promisc && { promisc }),
    ...(allmulti !== undefined && { allmulti }),
    ...(txQueueLength !== undefined && { txQueueLength }),
  };
}

/** `net.ipv4.conf.IFNAME.arp_filter`, or with slashes where an interface's name has a dot. */
function pathOf(key: string, ifName: string): string | undefined {
  const segments = key.split(key.includes('/') ? '/' : '.');
  const isBelowNet = segments[0] === 'net' && segments.length > 1;
  const isSafe = segments.every((each) => SEGMENT.test(each) && each !== '.' && each !== '..');
  if (!isBelowNet || !isSafe) return undefined;
  return segments.map((each) => (each === 'IFNAME' ? ifName : each)).join('/');
}
