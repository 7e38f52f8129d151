import { IPIP_DEVICE } from '../../../backends/bgp-tunnel.ts';
import type { Ip } from '../../../ip/address.ts';
import { addressOf } from '../../../ip/cidr.ts';
import { addressDump } from '../../../linux/address.ts';
import { linkDump } from '../../../linux/link/link.ts';
import { NETLINK_ROUTE, NetlinkSocket } from '../../../linux/netlink/socket.ts';
import { OUR_ALIAS } from '../../../state/ownership.ts';

export type FoundTunnel = { readonly address: Ip | undefined };

/**
 * Returns the tunnel device that an earlier agent left; undefined if there is none. Its address must stay
 * until the store has confirmed or replaced it: the kernel drops a device's routes with its last address.
 */
export async function findTunnel(): Promise<FoundTunnel | undefined> {
  using netlink = NetlinkSocket.open(NETLINK_ROUTE);
  const links = await netlink.dump(linkDump({ kind: 'ipip' }));
  const tunnel = links.find(
    ({ name, alias, up }) => name === IPIP_DEVICE && up && alias?.startsWith(OUR_ALIAS),
  );
  if (!tunnel) return undefined;
  const addresses = await netlink.dump(addressDump(4, tunnel.index));
  const own = addresses.find(({ dev }) => dev === tunnel.index);
  return { address: own && addressOf(own.address) };
}
