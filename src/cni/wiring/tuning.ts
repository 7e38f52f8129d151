import { linkSet } from '../../linux/link/change.ts';
import { IFF_ALLMULTI, IFF_PROMISC, linkGet } from '../../linux/link/link.ts';
import { withNetns } from '../../linux/netns.ts';
import { readSysctl, writeSysctl } from '../../linux/sysctl.ts';
import type { Tuning } from '../capabilities/tuning.ts';
import { CniError, CODE } from '../protocol/error.ts';
import type { PodNetns } from './pod-netns.ts';

/** Applies the configuration's settings in a pod's namespace, once its interface is there. */
export function tune(netns: PodNetns, ifName: string, { sysctls, ...link }: Tuning): void {
  if (Object.keys(link).length > 0) {
    const { index } = netns.link.getSync(linkGet(ifName));
    netns.link.executeSync(linkSet(index, link));
  }
  if (sysctls.length === 0) return;
  withNetns(netns.fd, () => {
    for (const [path, value] of sysctls) writeSysctl(path, value);
  });
}

/** For CHECK: throws CniError 999 naming a setting that differs. */
export function checkTuning(netns: PodNetns, ifName: string, tuning: Tuning): void {
  const { flags, txQueueLength } = netns.link.getSync(linkGet(ifName));
  const actual = {
    promisc: (flags & IFF_PROMISC) !== 0,
    allmulti: (flags & IFF_ALLMULTI) !== 0,
    txQueueLength,
  };
  for (const name of ['promisc', 'allmulti', 'txQueueLength'] as const) {
    const wanted = tuning[name];
    if (wanted !== undefined && wanted !== actual[name])
      throw new CniError(CODE.INTERNAL, `${name} of ${ifName} is ${actual[name]}, not ${wanted}`);
  }
  withNetns(netns.fd, () => {
    for (const [path, value] of tuning.sysctls) {
      const present = readSysctl(path);
      if (words(present) !== words(value))
        throw new CniError(CODE.INTERNAL, `${path} is ${present}, not ${value}`);
    }
  });
}

/** The kernel shows the fields of a value with tabs. */
function words(value: string): string {
  return value.trim().split(/\s+/).join(' ');
}
