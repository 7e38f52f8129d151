import { FAMILIES, familyOf } from '../../../ip/address.ts';
import { contains, parseCidr } from '../../../ip/cidr.ts';
import type { MonitorEvent } from '../../../linux/event.ts';
import { Monitor } from '../../../linux/monitor.ts';
import { NETLINK_ROUTE, NetlinkSocket } from '../../../linux/netlink/socket.ts';
import { type Route, RT_TABLE_MAIN, routeDump } from '../../../linux/route.ts';
import { RTPROT_BIRD } from '../../../linux/route-protocol.ts';
import { isForeign } from './main-table.ts';

/** Reads BIRD's routes from this node's kernel, like `ip route show proto bird`. */
export async function kernelRoutesOfBird(netlink: NetlinkSocket): Promise<Route[]> {
  const found: Route[] = [];
  for (const family of FAMILIES) {
    found.push(...(await netlink.dump(routeDump({ family, table: RT_TABLE_MAIN, protocol: RTPROT_BIRD }))));
  }
  return found;
}

/** Returns the destinations of BIRD's kernel routes. */
export async function routesOfBird(): Promise<string[]> {
  using netlink = NetlinkSocket.open(NETLINK_ROUTE);
  return (await kernelRoutesOfBird(netlink)).map(({ dst }) => dst);
}

export type RouteWatcher = {
  /** The kernel may have lost routes of BIRD's. */
  readonly lost: () => void;
  /** Somebody else has changed a route. */
  readonly foreign: () => void;
};

/**
 * Calls both at the start, and then as things happen, until `signal` aborts. Rejects when the kernel cannot
 * be monitored.
 */
export async function watchRoutes(signal: AbortSignal, { lost, foreign }: RouteWatcher): Promise<void> {
  const monitor = Monitor.open({ signal, objects: ['route', 'address', 'link'] });
  lost();
  foreign();
  await monitor.run((event) => {
    if (mayLose(event)) lost();
    if (isOthers(event)) foreign();
  });
}

/** Each new device has a link-local network and a multicast one, which concern nobody else. */
function isOthers(event: MonitorEvent): boolean {
  if (event.type === 'overflow') return true;
  if (event.type === 'miss' || event.object !== 'route') return false;
  const { dst, protocol, table } = event.value;
  if (table !== RT_TABLE_MAIN || !isForeign(protocol)) return false;
  return !DEVICE_NETWORKS.some((cidr) => contains(cidr, dst));
}

const DEVICE_NETWORKS = ['fe80::/10', 'ff00::/8'].map(parseCidr);

function mayLose(event: MonitorEvent): boolean {
  if (event.type === 'overflow') return true;
  if (event.type === 'new') {
    // A link that goes down loses its routes; they can be restored once it is up again.
    return event.object === 'link' && event.value.kind === 'ipip' && event.value.up;
  }
  if (event.type !== 'del') return false;
  if (event.object === 'route') return event.value.protocol === RTPROT_BIRD;
  // Removing a device's last IPv4 address removes its routes, without any route event (fib_disable_ip).
  return event.object === 'address' && familyOf(event.value.address) === 4;
}
