import { findLink } from '../../cni/wiring/links.ts';
import { podNamespaces } from '../../cni/wiring/namespaces.ts';
import { addressOf, type Prefixed } from '../../ip/cidr.ts';
import { addressDump } from '../../linux/address.ts';
import { type Link, linkDump } from '../../linux/link/link.ts';
import { NETLINK_ROUTE, NetlinkSocket } from '../../linux/netlink/socket.ts';
import { netnsPeerId } from '../../linux/netns-peer.ts';
import { OUR_ALIAS } from '../../state/ownership.ts';
import type { FoundPort } from '../flannel/found.ts';

const OWN = '/proc/self/ns/net';

/** A bridge's addresses, and the pods on it; undefined if there is no such bridge. */
export function readBridge(
  name: string,
): { readonly addresses: readonly Prefixed[]; readonly ports: readonly FoundPort[] } | undefined {
  using socket = NetlinkSocket.open(NETLINK_ROUTE);
  const bridge = findLink(socket, name);
  if (bridge?.kind !== 'bridge') return undefined;
  const ports = socket.dumpSync(linkDump({ kind: 'veth' })).filter(({ master }) => master === bridge.index);
  const insides = podEnds(socket, ports);
  return {
    addresses: socket.dumpSync(addressDump(undefined, bridge.index)).map(({ address }) => address),
    ports: ports.map((port) => {
      const inside = insides.get(port.index);
      return {
        name: port.name,
        mtu: port.mtu,
        hairpin: port.port?.hairpin ?? false,
        isOurs: port.alias?.startsWith(`${OUR_ALIAS} `) ?? false,
        ...(inside && { inside }),
      };
    }),
  };
}

/** The pods' ends of these veths, by the index of the node's end. */
function podEnds(socket: NetlinkSocket, ports: readonly Link[]): Map<number, FoundPort['inside']> {
  const found = new Map<number, FoundPort['inside']>();
  for (const netns of podNamespaces(OWN)) {
    using pod = netns;
    const id = socket.getSync(netnsPeerId(pod.fd));
    const here = ports.filter(({ netnsId }) => netnsId !== undefined && netnsId === id);
    if (here.length === 0) continue;
    for (const end of pod.link.dumpSync(linkDump({ kind: 'veth' }))) {
      const port = here.find(({ index, linkIndex }) => end.linkIndex === index && linkIndex === end.index);
      if (!port || end.mac === undefined) continue;
      const addresses = pod.link.dumpSync(addressDump(undefined, end.index));
      found.set(port.index, {
        netns: pod.path,
        netnsId: pod.id,
        ifName: end.name,
        mac: end.mac,
        addresses: addresses.map(({ address }) => addressOf(address)),
      });
    }
  }
  return found;
}
