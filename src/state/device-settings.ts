import type { Family } from '../ip/address.ts';
import type { SysctlItem } from './kinds/sysctl.ts';

/**
 * The kernel settings that every device of ours needs, as paths below /proc/sys: a new device takes the
 * host's defaults. Otherwise a pod or peer could also move the node's routes: by a redirect, or by a router
 * advertisement (CVE-2020-10749), even in a network without IPv6. `families`: those that the node routes
 * through the device.
 */
export function deviceSettings(
  dev: string,
  families: readonly Family[],
): readonly (readonly [path: string, value: string])[] {
  const v4 = `net/ipv4/conf/${dev}`;
  const v6 = `net/ipv6/conf/${dev}`;
  return [
    ...(families.includes(4) ? [[`${v4}/forwarding`, '1'] as const] : []),
    [`${v4}/accept_redirects`, '0'],
    ...(families.includes(6)
      ? ([
          [`${v6}/disable_ipv6`, '0'],
          [`${v6}/forwarding`, '1'],
        ] as const)
      : []),
    [`${v6}/accept_ra`, '0'],
    [`${v6}/accept_redirects`, '0'],
  ];
}

/** The same as items. */
export function deviceItems(dev: string, families: readonly Family[]): SysctlItem[] {
  return deviceSettings(dev, families).map(([path, value]) => ({ kind: 'sysctl', path, value }));
}
