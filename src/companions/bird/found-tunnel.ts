import { IPIP_DEVICE } from '../../backends/ipip.ts';
import type { Ip } from '../../ip/address.ts';
import { addressOf } from '../../ip/cidr.ts';
import { addressDump } from '../../linux/address.ts';
import { linkDump } from '../../linux/link/link.ts';
import { NETLINK_ROUTE, NetlinkSocket } from '../../linux/netlink/socket.ts';
import { OUR_ALIAS } from '../../state/ownership.ts';

/**
 * The tunnel device that the agent before this one left, with its address; undefined when there is none. Until the store has said
 * what the address is, it has to stay: with the last address of a device the kernel drops its routes.
 */
export async function foundTunnel(): Promise<{ readonly address: Ip | undefined } | undefined> {
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
