import { codeOf } from '../error.ts';
import type { Family, Ip } from '../ip/address.ts';
import type { Mac } from '../ip/mac.ts';
import { linkGet } from '../linux/link/link.ts';
import { type Neighbour, neighbourDump } from '../linux/neighbour.ts';
import { NETLINK_ROUTE, NetlinkSocket } from '../linux/netlink/socket.ts';
import { askCarrier } from './carrier.ts';
import { echoes, largestPacket, SMALL } from './echoes.ts';
import type { Answer, Evidence } from './evidence.ts';
import { isSilent, isTooNarrow } from './judge.ts';
import type { Pinger, Station } from './pinger.ts';
import type { Candidate, Target } from './target.ts';

/** The least MTU that a search considers, in bytes: what hosts must take (RFC 791, RFC 8200 §5). */
const LEAST: Record<Family, number> = { 4: 576, 6: 1280 };
/** Packets of each size to a host, beside the tunnel. */
const HOST_COUNT = 5;

/**
 * Finds out about one peer: whether `count` packets of each size come back from inside it, and if not, what
 * the underlay does to them. Throws SYSCALL if this process may not ping at all.
 */
export async function gather(pinger: Pinger, target: Target, count: number): Promise<Evidence> {
  const { inner, source, mtu } = target;
  if (inner === undefined) return withHost(pinger, target);
  const path = await echoes(pinger, inner, { source, size: mtu, count });
  if (path.refusal !== undefined && path.refusal !== 'EPERM') return { path };
  if (isSilent(path)) return explainSilence(pinger, target, { path });
  if (!isTooNarrow(path)) {
    const isWhole = path.small.answered + path.full.answered === 2 * count;
    return isWhole ? { path } : { path, ...(await withHost(pinger, target, count)) };
  }
  const least = Math.min(LEAST[target.family], mtu) - target.overhead;
  const [pathMtu, host] = await Promise.all([
    largestPacket(pinger, inner, { source, least: Math.max(SMALL, least), most: mtu - 1 }),
    withHost(pinger, target),
  ]);
  return { path, pathMtu, ...host };
}

/** The same beside the tunnel, with packets as large as those that would carry pods'. */
async function withHost(pinger: Pinger, target: Target, count = HOST_COUNT): Promise<Evidence> {
  const size = target.mtu + target.overhead;
  const host = await echoes(pinger, target.host, { size, count });
  if (isSilent(host) || !isTooNarrow(host)) return { host };
  const least = LEAST[target.family];
  return { host, hostMtu: await largestPacket(pinger, target.host, { least, most: size - 1 }) };
}

async function explainSilence(pinger: Pinger, target: Target, { path }: Evidence): Promise<Evidence> {
  const { carrier, host } = target;
  const [beside, answer, hasArrived] = await Promise.all([
    withHost(pinger, target),
    carrier === 'routes' ? undefined : askCarrier(pinger, host, carrier),
    carrier === 'routes' ? arrives(pinger, target) : undefined,
  ]);
  const station = stationOf(target);
  const others = await othersThatWork(pinger, target, station);
  const isAbsent = target.isOnLink && station === undefined && !isHeard(answer) && others.length === 0;
  return {
    ...(path && { path }),
    ...beside,
    ...(answer !== undefined && { carrier: answer }),
    ...(hasArrived !== undefined && { hasArrived }),
    ...(isAbsent && { isAbsent }),
    others,
  };
}

function isHeard(answer: Answer | undefined): boolean {
  return typeof answer === 'object';
}

/**
 * Whether the peer itself receives packets to its pods' addresses, without having one of its own: it cannot
 * pass on a packet whose hops are used up, and says so.
 */
async function arrives(pinger: Pinger, { inner, source, host, isOnLink }: Target): Promise<boolean> {
  if (inner === undefined || !isOnLink) return false;
  const outcome = await pinger.echo(inner, SMALL, { source, hops: 1 });
  return typeof outcome === 'object' && 'error' in outcome && outcome.error.from === host;
}

/** The peer on the link, from the neighbours that the kernel knows; it has just been asked. */
function stationOf({ host, dev, family, isOnLink }: Target): Station | undefined {
  if (!isOnLink) return undefined;
  using netlink = NetlinkSocket.open(NETLINK_ROUTE);
  try {
    const { index } = netlink.getSync(linkGet(dev));
    const known = netlink.dumpSync(neighbourDump({ family, dev: index }));
    const mac = macOf(known, index, host);
    return mac && { dev: index, mac };
  } catch (error) {
    if (codeOf(error) === 'NOT_FOUND') return undefined;
    throw error;
  }
}

function macOf(neighbours: readonly Neighbour[], dev: number, host: Ip): Mac | undefined {
  return neighbours.find((each) => each.dev === dev && each.ip === host)?.mac;
}

/**
 * The candidates whose packets get an answer from the peer. All at once: there are no more than a kernel
 * answers in a burst (XRLIM_BURST_FACTOR, six).
 */
async function othersThatWork(
  pinger: Pinger,
  target: Target,
  station: Station | undefined,
): Promise<readonly string[]> {
  const results = await Promise.all(target.others.map((each) => works(pinger, target, each, station)));
  return target.others.filter((_, i) => results[i]).map(({ type }) => type);
}

async function works(
  pinger: Pinger,
  { host, inner, from, mtu, overhead }: Target,
  { carrier }: Candidate,
  station: Station | undefined,
): Promise<boolean> {
  if (carrier !== 'routes') return isHeardFrom(await askCarrier(pinger, host, carrier));
  if (station === undefined || inner === undefined) return false;
  // Of the full size, and answered by the pods' side of the peer, as with plain routes.
  return (await pinger.echoVia(station, from, inner, mtu + overhead)) === 'answered';
}

/** Nothing on the way has dropped the packet. */
function isHeardFrom(answer: Answer): boolean {
  return typeof answer === 'object' && 'unwanted' in answer;
}
