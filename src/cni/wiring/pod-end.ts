import type { LocalPod } from '../../cluster/node.ts';
import { familyOf, parseIp } from '../../ip/address.ts';
import { addressOf, cidrOf, lastIp, lengthOf, type Prefixed, parseCidr } from '../../ip/cidr.ts';
import { addressReplace, IFA_F_NODAD } from '../../linux/address.ts';
import { linkSet } from '../../linux/link/change.ts';
import { linkGet } from '../../linux/link/link.ts';
import { type Neighbour, neighbourReplace } from '../../linux/neighbour.ts';
import type { Request } from '../../linux/netlink/message.ts';
import { withNetns } from '../../linux/netns.ts';
import { routeAdd } from '../../linux/route.ts';
import { readSysctl, writeSysctl } from '../../linux/sysctl.ts';
import type { PodAddress } from '../addresses/source.ts';
import type { RouteConfig } from '../protocol/result.ts';
import { PodNetns } from './pod-netns.ts';

const SELF = '/proc/self/ns/net';

/** Brings the pod's end up with immediately usable addresses, permanent neighbours and routes. */
export function configurePod(
  netns: PodNetns,
  ifName: string,
  ips: readonly PodAddress[],
  routes: readonly RouteConfig[],
  neighbours: readonly Pick<Neighbour, 'ip' | 'mac'>[] = [],
): void {
  if (ips.some(({ address }) => familyOf(address) === 6)) prepareIpv6(netns, ifName);
  const pod = netns.link;
  const { index } = pod.getSync(linkGet(ifName));
  const answers = pod.executeAllSync([
    ...linkSet(index, { up: true }),
    ...ips.map(({ address }) => assignAddress(index, address)),
    ...neighbours.map((neighbour) => neighbourReplace({ ...neighbour, dev: index })),
    ...routes.map((route) => podRoute(index, route, ips)),
  ]);
  // EEXIST: the subnet's own route, or a duplicate in the configuration.
  const error = answers.find((answer) => answer && answer.errno !== 'EEXIST');
  if (error) throw error;
}

/**
 * Assigns an address as the reference plugins do: with a broadcast address and without duplicate address
 * detection.
 */
export function assignAddress(dev: number, address: Prefixed): Request {
  if (familyOf(address) === 6) return addressReplace({ dev, address, flags: IFA_F_NODAD });
  const length = lengthOf(address);
  const broadcast = length < 31 ? lastIp(cidrOf(addressOf(address), length)) : undefined;
  return addressReplace({ dev, address, broadcast });
}

/**
 * Sets the MTU (bytes) of a running pod's own interface, like `ip -n POD link set eth0 mtu N`: if only the
 * host end changed, the pod would send packets that get dropped. Returns whether the MTU changed. Throws
 * NETLINK, and CniError 8 when the pod is gone, even if its path names another namespace by now.
 */
export async function setPodMtu(pod: LocalPod, mtu: number, nodeNetns = SELF): Promise<boolean> {
  using netns = PodNetns.openKnown(pod, nodeNetns);
  const link = await netns.link.get(linkGet(pod.ifName));
  if (link.mtu === mtu) return false;
  await netns.link.execute(linkSet(link.index, { mtu }));
  return true;
}

function podRoute(dev: number, route: RouteConfig, ips: readonly PodAddress[]): Request {
  const family = familyOf(route.dst);
  const own = ips.find(({ address, gateway }) => gateway && familyOf(address) === family);
  return routeAdd({
    dst: parseCidr(route.dst),
    dev,
    via: route.gw ? parseIp(route.gw) : own?.gateway,
    metric: route.priority,
    table: route.table,
    scope: route.scope,
    mtu: route.mtu,
  });
}

/**
 * Call before the interface comes up: disables duplicate address detection, which would delay the link-local
 * address by a second or two, and enables IPv6, which some runtimes disable in new namespaces.
 */
export function prepareIpv6(netns: PodNetns, ifName: string): void {
  withNetns(netns.fd, () => {
    for (const dev of ['lo', ifName]) {
      const path = `net/ipv6/conf/${dev}/disable_ipv6`;
      if (readSysctl(path) === '1') writeSysctl(path, 0);
    }
    writeSysctl(`net/ipv6/conf/${ifName}/accept_dad`, 0);
    // Otherwise the addresses are lost whenever the interface goes down briefly.
    writeSysctl(`net/ipv6/conf/${ifName}/keep_addr_on_down`, 1);
  });
}
