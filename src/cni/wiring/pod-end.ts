import type { LocalPod } from '../../cluster/node.ts';
import { familyOf, parseIp } from '../../ip/address.ts';
import { addressOf, cidrOf, lastIp, lengthOf, type Prefixed, parseCidr } from '../../ip/cidr.ts';
import { addressReplace, IFA_F_NODAD } from '../../linux/address.ts';
import { linkGet, linkSet } from '../../linux/link/link.ts';
import { type Neighbour, neighbourReplace } from '../../linux/neighbour.ts';
import type { Request } from '../../linux/netlink/message.ts';
import { NETLINK_ROUTE, NetlinkSocket } from '../../linux/netlink/socket.ts';
import { withNetns } from '../../linux/netns.ts';
import { routeAdd } from '../../linux/route.ts';
import { readSysctl, writeSysctl } from '../../linux/sysctl.ts';
import type { PodAddress } from '../addresses/source.ts';
import type { RouteConfig } from '../protocol/result.ts';
import type { PodNetns } from './pod-netns.ts';

/** Brings the pod's end up with addresses that are usable at once, permanent neighbours and routes. */
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
  // EEXIST: the route of the network itself, or one the configuration names twice.
  const error = answers.find((answer) => answer && answer.errno !== 'EEXIST');
  if (error) throw error;
}

/**
 * Gives an interface an address as the reference plugins do: with broadcast address, and without duplicate
 * detection.
 */
export function assignAddress(dev: number, address: Prefixed): Request {
  if (familyOf(address) === 6) return addressReplace({ dev, address, flags: IFA_F_NODAD });
  const length = lengthOf(address);
  const broadcast = length < 31 ? lastIp(cidrOf(addressOf(address), length)) : undefined;
  return addressReplace({ dev, address, broadcast });
}

/**
 * Sets the MTU (bytes) of a running pod's own interface, like `ip -n POD link set eth0 mtu N`: with only the
 * host's end changed, the pod would send packets that nobody carries. Returns whether it changed. Throws
 * NETLINK, and NOT_FOUND when the pod is gone.
 */
export async function setPodMtu({ netns, ifName }: LocalPod, mtu: number): Promise<boolean> {
  using netlink = NetlinkSocket.open(NETLINK_ROUTE, { netns });
  const link = await netlink.get(linkGet(ifName));
  if (link.mtu === mtu) return false;
  await netlink.execute(linkSet(link.index, { mtu }));
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
 * Before the interface comes up: turns off duplicate address detection, which would hold back the link-local
 * address for a second or two, and turns on IPv6, which some runtimes disable in new namespaces.
 */
function prepareIpv6(netns: PodNetns, ifName: string): void {
  withNetns(netns.fd, () => {
    for (const dev of ['lo', ifName]) {
      const path = `net/ipv6/conf/${dev}/disable_ipv6`;
      if (readSysctl(path) === '1') writeSysctl(path, 0);
    }
    writeSysctl(`net/ipv6/conf/${ifName}/accept_dad`, 0);
    // Otherwise the addresses are lost whenever the interface goes down for a moment.
    writeSysctl(`net/ipv6/conf/${ifName}/keep_addr_on_down`, 1);
  });
}
