import { background } from '../../async/background.ts';
import type { LocalPod } from '../../cluster/node.ts';
import { FlatnetError } from '../../error.ts';
import { portElements } from '../../host-ports/pods.ts';
import { type Redirected, redirected, type Target } from '../../host-ports/redirected.ts';
import { FAMILIES, type Ip } from '../../ip/address.ts';
import { addressOf, contains, parseCidr } from '../../ip/cidr.ts';
import { addressDump } from '../../linux/address.ts';
import { type Flow, flowDelete, flowDump } from '../../linux/conntrack/flow.ts';
import { NETLINK_NETFILTER, NETLINK_ROUTE, NetlinkSocket } from '../../linux/netlink/socket.ts';
import type { Log } from '../../log.ts';
import type { Change } from '../../state/item.ts';

const UDP = 17;
const LOOPBACK = parseCidr('127.0.0.0/8');

/**
 * Forgets the UDP flows that a change of host ports has made stale: those to a pod that is gone, and those
 * that the host itself answered. `netns`: by default the process's own.
 */
export function forgetStaleFlows(changes: readonly Change[], log: Log, netns?: string): void {
  const ports = redirected(changes);
  if (ports.length > 0) background('forget stale UDP flows', forget(ports, netns), log);
}

/** Forgets the UDP flows to a pod that is gone. */
export async function forgetFlowsTo(
  pod: Pick<LocalPod, 'addresses' | 'hostPorts'>,
  netns?: string,
): Promise<void> {
  const elements = FAMILIES.flatMap((family) => portElements(pod, pod.hostPorts ?? [], family));
  const ports = redirected(elements.map((item) => ({ action: 'delete', item })));
  if (ports.length > 0) await forget(ports, netns);
}

async function forget(ports: readonly Redirected[], netns: string | undefined): Promise<void> {
  using route = NetlinkSocket.open(NETLINK_ROUTE, { netns });
  using conntrack = NetlinkSocket.open(NETLINK_NETFILTER, { netns });
  const own = new Set((await route.dump(addressDump())).map(({ address }) => addressOf(address)));
  const isOwn = (ip: Ip): boolean => own.has(ip) || contains(LOOPBACK, ip);
  for (const port of ports) {
    const flows = await conntrack.dump(flowDump(port.family, UDP, port.port));
    const stale = flows.filter((flow) => isStale(flow, port, isOwn));
    for (const error of await conntrack.executeAll(stale.map(flowDelete)))
      if (error instanceof FlatnetError && error.errno !== 'ENOENT') throw error;
  }
}

function isStale({ orig, reply }: Flow, port: Redirected, isOwn: (ip: Ip) => boolean): boolean {
  if (orig.protocol !== UDP || orig.dport !== port.port) return false;
  const leadsTo = (target: Target | undefined): boolean =>
    reply.src === target?.ip && reply.sport === target.port;
  if (leadsTo(port.now)) return false;
  const isMeant = port.hostIp === undefined ? isOwn(orig.dst) : orig.dst === port.hostIp;
  return leadsTo(port.was) || (port.now !== undefined && isMeant);
}
