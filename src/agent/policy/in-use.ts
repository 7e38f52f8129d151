import { FAMILIES, familyOf, type Ip } from '../../ip/address.ts';
import { forwardedDump } from '../../linux/conntrack/forwarded.ts';
import { NETLINK_NETFILTER, NetlinkSocket } from '../../linux/netlink/socket.ts';

/** Those of these addresses to which connections are tracked. `netns`: a path. Throws NETLINK. */
export async function addressesInUse(all: readonly Ip[], netns?: string): Promise<ReadonlySet<Ip>> {
  const found = new Set<Ip>();
  using socket = NetlinkSocket.open(NETLINK_NETFILTER, { netns });
  for (const family of FAMILIES) {
    const among = new Set(all.filter((ip) => familyOf(ip) === family));
    if (among.size === 0) continue;
    const dump = forwardedDump(family, undefined, among, ({ destination }) => among.has(destination));
    for (const { destination } of await socket.dump(dump)) found.add(destination);
  }
  return found;
}
