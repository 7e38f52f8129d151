import { NETCONFA_IFINDEX_ALL, type Netconf } from '../../linux/netconf.ts';
import { equal } from '../kind.ts';
import { contradictedKey, type NameOf } from '../protocols/rtnetlink.ts';
import type { SysctlKind } from '../protocols/sysctl.ts';

/** A setting of the kernel, like `sysctl -w PATH=VALUE`. */
export type SysctlItem = {
  readonly kind: 'sysctl';
  /** Below /proc/sys, with slashes: `net/ipv4/ip_forward`, `net/ipv6/conf/cni0/accept_dad`. */
  readonly path: string;
  readonly value: string;
  /** Written only if the kernel currently holds this value; any other value is deliberate and stays. */
  readonly when?: string;
};

export const sysctl: SysctlKind<SysctlItem> = {
  kind: 'sysctl',
  executor: 'sysctl',
  key: ({ path }) => `sysctl ${path}`,
  device: ({ path }) => /^net\/ipv[46]\/(?:conf|neigh)\/(?!all\/|default\/)([^/]+)\//.exec(path)?.[1],
  // A new device's own settings, such as accept_ra and accept_dad, are set before it comes up.
  stage: (_item, isNew) => (isNew ? 'device settings' : 'settings'),
  // The former value is unknown, and others may rely on the current one.
  isOurs: () => false,
  // A global setting changes those of devices, and a conditional one depends on its current value.
  affectsOthers: (item) => sysctl.device?.(item) === undefined || item.when !== undefined,
  same: equal,
  satisfies: (actual, { value, when }) =>
    actual.value === value || (when !== undefined && actual.value !== when),

  path: ({ path }) => path,
  value: ({ value }) => value,
  actual: ({ path }, value) => ({ kind: 'sysctl', path, value }),
  // A conditional setting that does not exist needs no correction.
  mayBeAbsent: ({ path, when }, hasIpv6) => when !== undefined || (!hasIpv6 && path.startsWith('net/ipv6/')),
  contradiction: (event, { desired, nameOf }) => {
    // A device's settings disappear with it.
    if (event.object !== 'netconf' || event.type === 'del') return undefined;
    const items = itemsOf(event.value, nameOf);
    const wrong = items.find((item) => contradictedKey(sysctl, item, false, desired) !== undefined);
    return wrong && sysctl.key(wrong);
  },

  command: ({ path, value }) => `sysctl -w ${path}=${value}`,
};

/** The settings that a message reports, with their paths. */
function itemsOf(
  { family, dev, forwarding, rpFilter, proxyNeighbour }: Netconf,
  nameOf: NameOf,
): SysctlItem[] {
  const name = dev === NETCONFA_IFINDEX_ALL ? 'all' : nameOf(dev);
  if (name === undefined) return [];
  const item = (path: string, value: number | undefined): SysctlItem[] =>
    value === undefined ? [] : [{ kind: 'sysctl', path, value: `${value}` }];
  const conf = `net/ipv${family}/conf/${name}`;
  const router = family === 4 && name === 'all' ? 'net/ipv4/ip_forward' : `${conf}/forwarding`;
  return [
    ...item(router, forwarding),
    ...item(`${conf}/rp_filter`, rpFilter),
    ...item(`${conf}/${family === 4 ? 'proxy_arp' : 'proxy_ndp'}`, proxyNeighbour),
  ];
}
