import type { LocalPod } from '../../cluster/node.ts';
import { linkGet, linkSet } from '../../linux/link/link.ts';
import { NETLINK_ROUTE, NetlinkSocket } from '../../linux/netlink/socket.ts';

/**
 * Sets the MTU (bytes) of a running pod's own interface, like `ip -n POD link set eth0 mtu N`: the host's end alone would make the
 * pod send packets that nobody carries. Returns whether it had to. Throws NETLINK, and NOT_FOUND when the pod is gone.
 */
export async function setPodMtu({ netns, ifName }: LocalPod, mtu: number): Promise<boolean> {
  using netlink = NetlinkSocket.open(NETLINK_ROUTE, { netns });
  const link = await netlink.get(linkGet(ifName));
  if (link.mtu === mtu) return false;
  await netlink.execute(linkSet(link.index, { mtu }));
  return true;
}
