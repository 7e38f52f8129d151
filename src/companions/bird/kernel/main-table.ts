import { FAMILIES, type Ip } from '../../../ip/address.ts';
import { addressOf, type Cidr, cidrOf, lengthOf } from '../../../ip/cidr.ts';
import { addressDump } from '../../../linux/address.ts';
import { linkDump } from '../../../linux/link/link.ts';
import { NETLINK_ROUTE, NetlinkSocket } from '../../../linux/netlink/socket.ts';
import { type RouteType, RT_TABLE_MAIN, routeDump } from '../../../linux/route.ts';
import { RTPROT_BIRD } from '../../../linux/route-protocol.ts';
import { OUR_PROTOCOLS } from '../../../state/ownership.ts';

/** A next hop, its device by name. */
export type Hop = { readonly via?: Ip; readonly dev: string; readonly onlink: boolean };

/** A route that is neither BIRD's nor ours. */
export type ForeignRoute = {
  readonly dst: Cidr;
  readonly type: RouteType;
  readonly protocol: number;
  readonly metric: number;
  readonly hops: readonly Hop[];
};

/** What others have put into the main routing table, and what each device's own addresses make reachable. */
export type MainTable = {
  readonly routes: readonly ForeignRoute[];
  readonly onLink: ReadonlyMap<string, readonly Cidr[]>;
};

/** Whether a route is somebody else's, by its protocol. */
export function isForeign(protocol: number | undefined): boolean {
  return protocol !== RTPROT_BIRD && !OUR_PROTOCOLS.has(protocol ?? 0);
}

/**
 * Reads it, like `ip route` and `ip address`. `netns`: path of a network namespace; default: our own.
 */
export async function readMainTable(netns?: string): Promise<MainTable> {
  using netlink = NetlinkSocket.open(NETLINK_ROUTE, { netns });
  const links = await netlink.dump(linkDump());
  const names = new Map(links.map(({ index, name }) => [index, name]));
  const onLink = new Map<string, Cidr[]>();
  for (const { dev, address, peer } of await netlink.dump(addressDump())) {
    const name = names.get(dev) ?? '';
    onLink.set(name, [...(onLink.get(name) ?? []), cidrOf(peer ?? addressOf(address), lengthOf(address))]);
  }
  const routes: ForeignRoute[] = [];
  for (const family of FAMILIES) {
    for (const route of await netlink.dump(routeDump({ family, table: RT_TABLE_MAIN }))) {
      const { dst, type = 'unicast', protocol = 0, metric = 0, dev, via, onlink, nexthops } = route;
      if (!isForeign(protocol)) continue;
      const ways = nexthops ?? (dev === undefined ? [] : [{ dev, via, onlink }]);
      const hops = ways.map((way) => ({
        ...(way.via !== undefined && { via: way.via }),
        dev: names.get(way.dev) ?? `${way.dev}`,
        onlink: way.onlink === true,
      }));
      routes.push({ dst, type, protocol, metric, hops });
    }
  }
  return { routes, onLink };
}
