import { FAMILIES, familyOf, type Ip } from '../../ip/address.ts';
import { destinationDump } from '../../linux/conntrack/destinations.ts';
import { NETLINK_NETFILTER, NetlinkSocket } from '../../linux/netlink/socket.ts';

/** Those of these addresses to which connections are tracked. `netns`: a path. Throws NETLINK. */
export async function addressesInUse(all: readonly Ip[], netns?: string): Promise<ReadonlySet<Ip>> {
  const found = new Set<Ip>();
  using socket = NetlinkSocket.open(NETLINK_NETFILTER, { netns });
  for (const family of FAMILIES) {
    const among = new Set(all.filter((ip) => familyOf(ip) === family));
    if (among.size === 0) continue;
    for (const ip of await socket.dump(destinationDump(family, among))) found.add(ip);
  }
  return found;
}
