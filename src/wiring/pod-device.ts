import { type LocalPod, podName } from '../cluster/node.ts';
import { type Family, familyOf, type Ip, parseIp } from '../ip/address.ts';
import { type Cidr, hostCidr } from '../ip/cidr.ts';
import { type Mac, macFromSeed, parseMac } from '../ip/mac.ts';
import { deviceSettings } from '../state/device-settings.ts';
import { OUR_LOCAL_PROTOCOL, OUR_PROTOCOL } from '../state/ownership.ts';

/** The host's ends of routed pods' veths have Calico's prefix, by which rules recognise pods. */
export const DEVICE_PREFIX = 'cali';

/** The MAC of every pod's gateway: each pod has its own link, so one MAC serves all. */
export const HOST_MAC: Mac = parseMac('ee:ee:ee:ee:ee:ee');

/**
 * The MAC of the host's end of a bridged pod's veth: it identifies the pod's link even if that is renamed.
 */
export function portMac(hostDevice: string): Mac {
  return macFromSeed(`${hostDevice} host`);
}

/**
 * The gateway of a pod's default route, the same in every pod. The IPv4 address is unassigned; the host's end
 * answers for it (proxy ARP). The IPv6 one is the link-local address derived from HOST_MAC (RFC 4291,
 * appendix A).
 */
export const GATEWAY: Record<Family, Ip> = {
  4: parseIp('169.254.1.1'),
  6: parseIp('fe80::ecee:eeff:feee:eeee'),
};

/**
 * Kernel settings of a pod's host device, as paths below /proc/sys. In a family without pod addresses the
 * device accepts no packets.
 */
export function deviceSysctls(
  dev: string,
  families: readonly Family[],
  { allowedSources = [] }: Pick<LocalPod, 'allowedSources'> = {},
): readonly (readonly [path: string, value: string])[] {
  // The guard knows what else the pod may send from, the kernel does not.
  const rpFilter = allowedSources.some((cidr) => familyOf(cidr) === 4) ? '0' : '1';
  const v4 = `net/ipv4/conf/${dev}`;
  const v6 = `net/ipv6/conf/${dev}`;
  const ipv4 = [
    [`${v4}/proxy_arp`, '1'],
    // Otherwise the kernel delays its answers by up to 0.8 s.
    [`net/ipv4/neigh/${dev}/proxy_delay`, '0'],
    [`${v4}/rp_filter`, rpFilter],
    // Makes host ports mapped to a pod work on 127.0.0.1 too.
    [`${v4}/route_localnet`, '1'],
  ] as const;
  const ipv6 = [
    // The gateway's address is usable at once, without duplicate address detection.
    [`${v6}/accept_dad`, '0'],
    [`${v6}/addr_gen_mode`, '0'],
    [`${v6}/proxy_ndp`, '1'],
  ] as const;
  return [
    ...deviceSettings(dev, families),
    ...(families.includes(4) ? ipv4 : [[`${v4}/rp_filter`, rpFilter] as const]),
    ...(families.includes(6) ? ipv6 : [[`${v6}/disable_ipv6`, '1'] as const]),
  ];
}

/**
 * A pod's route takes precedence over any other to the same address. IPv4's default metric ensures that;
 * IPv6's default of 1024 would lose to BIRD's 32 of a route that a peer still advertises for the address's
 * previous owner.
 */
const METRIC: Record<Family, number | undefined> = { 4: undefined, 6: 1 };

export type PodRoute = { readonly dst: Cidr; readonly protocol: number; readonly metric?: number };

/**
 * The routes to a pod's addresses. Those that no blackhole of a block covers are advertised: addresses
 * borrowed from another node's block, and those alone in their block, where a blackhole would take the
 * route's place.
 */
export function podRoutes({
  addresses,
  borrowed = [],
}: Pick<LocalPod, 'addresses' | 'borrowed'>): PodRoute[] {
  return addresses.map((ip) => {
    const metric = METRIC[familyOf(ip)];
    return {
      dst: hostCidr(ip),
      protocol: borrowed.includes(ip) ? OUR_PROTOCOL : OUR_LOCAL_PROTOCOL,
      ...(metric !== undefined && { metric }),
    };
  });
}

/** Maximum length of an alias in bytes; the kernel allows 255. */
const ALIAS_LENGTH = 240;

/**
 * The alias of a pod's host device, which identifies the pod. A newer sandbox of the same pod has a device of
 * the same name, so the alias ends with `ownerMark`, which identifies the container.
 */
export function podAlias(pod: Pick<LocalPod, 'namespace' | 'name' | 'containerId' | 'ifName'>): string {
  const mark = ownerMark(pod);
  const name = podName(pod);
  return `flatnet${name ? ` ${name}` : ''}`.slice(0, ALIAS_LENGTH - mark.length) + mark;
}

export function ownerMark({ containerId, ifName }: Pick<LocalPod, 'containerId' | 'ifName'>): string {
  return ` ${containerId.slice(-150)} ${ifName}`;
}
