import { createHash } from 'node:crypto';
import { FlatnetError } from '../../error.ts';
import { familyOf, type Ip, parseIp } from '../../ip/address.ts';
import {
  addressOf,
  cidrOf,
  lastIp,
  lengthOf,
  type Prefixed,
  parseCidr,
  parsePrefixed,
} from '../../ip/cidr.ts';
import { type Mac, macFromSeed } from '../../ip/mac.ts';
import { addressReplace, IFA_F_NODAD } from '../../linux/address.ts';
import { type Link, linkAdd, linkGet, linkSet } from '../../linux/link/link.ts';
import { type Neighbour, NUD_STALE, neighbourReplace } from '../../linux/neighbour.ts';
import type { Request } from '../../linux/netlink/message.ts';
import type { NetlinkSocket } from '../../linux/netlink/socket.ts';
import { withNetns } from '../../linux/netns.ts';
import { routeAdd } from '../../linux/route.ts';
import { readSysctl, writeSysctl } from '../../linux/sysctl.ts';
import { CniError, CODE } from '../protocol/error.ts';
import type { IpConfig, RouteConfig } from '../protocol/result.ts';
import type { AttachmentKey } from '../records/attachment.ts';
import type { PodNetns } from './pod-netns.ts';

/** A pod's veth: what it shall be. */
export type PodLink = {
  readonly hostDevice: string;
  readonly ifName: string;
  readonly netns: PodNetns;
  readonly bridge: Link;
  /** Bytes. */
  readonly mtu: number;
  readonly mac: Mac;
  readonly hairpin: boolean;
  readonly alias: string;
  readonly addresses: readonly Prefixed[];
};

/** The same name at every try, so that whatever a crash leaves is found. */
export function hostDeviceName({ network, containerId, ifName }: AttachmentKey): string {
  const hash = createHash('sha256').update(`${network}\0${containerId}\0${ifName}`).digest('hex');
  return `veth${hash.slice(0, 11)}`;
}

/**
 * The MAC of a pod's interface. It follows from the address, so that when the address is given to another pod, what the host
 * and other pods remember in their neighbour tables is right at once, and no gratuitous ARP has to tell them.
 */
export function podMac(bridge: string, addresses: readonly Ip[], hostDevice: string): Mac {
  return macFromSeed(`${bridge} ${addresses[0] ?? hostDevice}`);
}

/**
 * Makes the pair, one end in the pod's namespace, the other a port of the bridge. MACs are given at once: udev leaves those
 * alone. Returns the MAC of the host’s end. The host is told the pod's: what it remembers of an address's former owner would send packets astray.
 */
export function addPair(host: NetlinkSocket, link: PodLink): Mac {
  const { hostDevice, mtu, bridge } = link;
  const hostMac = macFromSeed(`${hostDevice} host`);
  host.executeSync([
    ...linkAdd({
      name: hostDevice,
      mtu,
      mac: hostMac,
      master: bridge.index,
      alias: link.alias,
      // A bridge port needs no address of its own, and link-local ones cost duplicate detection and multicast reports.
      addrGenMode: 'none',
      up: true,
      ...(link.hairpin ? { port: { hairpin: true } } : {}),
      data: { kind: 'veth', peer: { name: link.ifName, mac: link.mac, mtu, netns: link.netns.fd } },
    }),
    ...link.addresses.map((address) =>
      neighbourReplace({ dev: bridge.index, ip: addressOf(address), mac: link.mac, state: NUD_STALE }),
    ),
  ]);
  return hostMac;
}

/** Brings the pod's end up, with addresses that are usable at once, permanent neighbours, and the routes. */
export function configurePod(
  { ifName, netns }: Pick<PodLink, 'ifName' | 'netns'>,
  ips: readonly IpConfig[],
  routes: readonly RouteConfig[],
  neighbours: readonly Pick<Neighbour, 'ip' | 'mac'>[] = [],
): void {
  if (ips.some(({ address }) => familyOf(address) === 6)) prepareIpv6(netns, ifName);
  const pod = netns.link;
  const { index } = pod.getSync(linkGet(ifName));
  const addresses = ips.map(({ address }) => assign(index, parsePrefixed(address)));
  const answers = pod.executeAllSync([
    ...linkSet(index, { up: true }),
    ...addresses,
    ...neighbours.map((neighbour) => neighbourReplace({ ...neighbour, dev: index })),
    ...routes.map((route) => podRoute(index, route, ips)),
  ]);
  // A route that is there already is as good: the network's own, or one the configuration names twice.
  const error = answers.find((answer) => answer && answer.errno !== 'EEXIST');
  if (error) throw error;
}

/** Makes a pair, and tells of a name that is taken as the reference plugins do. */
export function naming<T>(ifName: string, hostDevice: string, make: () => T): T {
  try {
    return make();
  } catch (error) {
    if (!(error instanceof FlatnetError) || error.errno !== 'EEXIST') throw error;
    const text = `container veth name (${ifName}) peer provided (${hostDevice}) already exists`;
    throw new CniError(CODE.INTERNAL, text, '', error);
  }
}

/** Gives an interface an address as the reference plugins do: with broadcast address, and without duplicate detection. */
export function assign(dev: number, address: Prefixed): Request {
  if (familyOf(address) === 6) return addressReplace({ dev, address, flags: IFA_F_NODAD });
  const length = lengthOf(address);
  const broadcast = length < 31 ? lastIp(cidrOf(addressOf(address), length)) : undefined;
  return addressReplace({ dev, address, broadcast });
}

/** Undefined when there is none. */
export function findLink(socket: NetlinkSocket, dev: string | number): Link | undefined {
  try {
    return socket.getSync(linkGet(dev));
  } catch (error) {
    if (error instanceof FlatnetError && error.errno === 'ENODEV') return undefined;
    throw error;
  }
}

function podRoute(dev: number, route: RouteConfig, ips: readonly IpConfig[]): Request {
  const family = familyOf(route.dst);
  const gateway =
    route.gw ?? ips.find(({ address, gateway }) => gateway && familyOf(address) === family)?.gateway;
  return routeAdd({
    dst: parseCidr(route.dst),
    dev,
    via: gateway ? parseIp(gateway) : undefined,
    metric: route.priority,
    table: route.table,
    scope: route.scope,
    mtu: route.mtu,
  });
}

/**
 * Before the interface comes up: no duplicate address detection, which would hold back its link-local address for a
 * second or two, and IPv6 enabled, which some runtimes turn off in new namespaces.
 */
function prepareIpv6(netns: PodNetns, ifName: string): void {
  withNetns(netns.fd, () => {
    for (const dev of ['lo', ifName]) {
      const path = `net/ipv6/conf/${dev}/disable_ipv6`;
      if (readSysctl(path) === '1') writeSysctl(path, 0);
    }
    writeSysctl(`net/ipv6/conf/${ifName}/accept_dad`, 0);
    // Else the addresses would be gone after the interface was down for a moment.
    writeSysctl(`net/ipv6/conf/${ifName}/keep_addr_on_down`, 1);
  });
}
