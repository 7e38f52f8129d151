import { bgpAddressProblem } from '../../../cluster/calico/bgp-address.ts';
import type { BgpPeer } from '../../../cluster/resources.ts';
import { type Family, familyOf, type Ip, ipCompare } from '../../../ip/address.ts';
import { type BgpCluster, isGlobal } from './cluster.ts';
import { secretKey } from './facts.ts';
import type { Wanted } from './peering.ts';

/** One BGP session of this node. */
export type Session = {
  /**
   * BIRD's name for it. It identifies the other end, not the reason for the session, so the session survives
   * a change of reason.
   */
  readonly name: string;
  readonly family: Family;
  readonly reason: 'node-to-node mesh' | 'global' | 'node specific';
  /** The node at the other end; absent for a peer outside the cluster. */
  readonly node?: string;
  readonly local: { readonly address?: Ip; readonly port: number; readonly as: number };
  readonly remote: { readonly address: Ip; readonly port: number; readonly as: number };
  /** The other end dials. */
  readonly passive: boolean;
  /** The other end is our route reflector client, in this route reflector cluster. */
  readonly clusterId?: Ip;
  readonly nextHop: 'self' | 'self ebgp' | 'keep';
  /** Bound to the shared interface, so that BFD is single-hop; otherwise multihop. */
  readonly direct: boolean;
  readonly bfd: boolean;
  readonly password?: string;
  /** Seconds. */
  readonly keepalive?: number;
  /** Seconds. */
  readonly restartTime?: number;
  /** Maximum distance in hops (RFC 5082). */
  readonly ttlSecurity?: number;
  readonly allowedLocalAs?: number;
  /** BGPFilters by name. */
  readonly filters: readonly string[];
};

const PASSWORD = /^[ !#-~]{1,80}$/;

/** Computes a wanted session. Both ends compute it consistently. */
export function sessionOf(cluster: BgpCluster, { address, node, peer }: Wanted): Session {
  const { bgpConfiguration } = cluster.resources;
  const family = familyOf(address);
  const own = cluster.self.addresses[family];
  const bound = cluster.ownAddress(address);
  const localAs = cluster.asOf(cluster.self, peer);
  const remoteAs = node ? cluster.asOf(node, peer) : (peer?.asNumber ?? localAs);
  const remotePort = node ? bgpConfiguration.listenPort : (peer?.port ?? 179);
  const internal = localAs === remoteAs;
  const clusterId = cluster.clusterIdOf(cluster.self);
  const client = clusterId !== undefined && internal && (!node || cluster.clusterIdOf(node) !== clusterId);
  const password = cluster.password(peer);
  const restartTime = peer ? peer.maxRestartTime : bgpConfiguration.nodeMeshMaxRestartTime;
  const bfd = peer?.bfd ?? false;
  const label = address.replaceAll(/[.:]/g, '_');
  return {
    name: node ? `Node_${label}` : `Peer_${label}${remotePort === 179 ? '' : `_port_${remotePort}`}`,
    family,
    reason: !peer ? 'node-to-node mesh' : isGlobal(peer) ? 'global' : 'node specific',
    ...(node && { node: node.name }),
    local: {
      ...(bound && isBound(peer) && { address: bound }),
      port: bgpConfiguration.listenPort,
      as: localAs,
    },
    remote: { address, port: remotePort, as: remoteAs },
    // Only one end dials; otherwise connections collide and one is dropped.
    passive: node !== undefined && own !== undefined && ipCompare(address, own) > 0,
    ...(client && { clusterId }),
    nextHop: nextHopOf(peer, internal, clusterId !== undefined),
    direct: bfd && !internal && !peer?.ttlSecurity && cluster.isOnLink(address),
    bfd,
    ...(password !== undefined && { password }),
    ...(peer?.keepaliveTime !== undefined && { keepalive: peer.keepaliveTime }),
    ...(restartTime !== undefined && { restartTime }),
    ...(peer?.ttlSecurity !== undefined && { ttlSecurity: peer.ttlSecurity }),
    ...(peer?.numAllowedLocalAsNumbers !== undefined && { allowedLocalAs: peer.numAllowedLocalAsNumbers }),
    filters: peer?.filters ?? [],
  };
}

/** Returns why a session can't be set up as wanted; undefined when it can. */
export function obstacleOf(
  cluster: BgpCluster,
  { address, peer }: Wanted,
  session: Session,
): string | undefined {
  const problem = bgpAddressProblem(address);
  if (problem !== undefined) return `${address} ${problem}`;
  const own = [cluster.ownAddress(address), cluster.self.addresses[session.family]].filter(
    (ip) => ip !== undefined,
  );
  if (own.includes(address)) return 'it is this node’s own address';
  for (const ip of own) {
    const why = bgpAddressProblem(ip);
    if (why !== undefined) return `this node’s address ${ip} ${why}`;
  }
  const ref = cluster.passwordRef(peer);
  if (ref && session.password === undefined) return `the secret ${secretKey(ref)} is missing`;
  if (session.password !== undefined && !PASSWORD.test(session.password)) {
    // BIRD's strings have no escapes; the kernel's TCP_MD5SIG_MAXKEYLEN is 80.
    return 'its password must be 1 to 80 printable ASCII characters without "';
  }
  if (cluster.self.addresses[session.family] === undefined && isBound(peer)) {
    return `this node has no IPv${familyOf(address)} address`;
  }
  const known = new Set(cluster.resources.bgpFilters.map(({ name }) => name));
  const missing = session.filters.find((name) => !known.has(name));
  return missing === undefined ? undefined : `there is no BGPFilter ${missing}`;
}

/** Whether the session needs a local address. BIRD's multihop BFD does. */
function isBound(peer: BgpPeer | undefined): boolean {
  return peer?.sourceAddress !== 'None' || peer.bfd;
}

/**
 * Routes from outside the cluster get our address as next hop, because the other nodes may not reach the
 * router they came from. Reflected routes keep their own, or all traffic between nodes would pass through the
 * reflector.
 */
function nextHopOf(peer: BgpPeer | undefined, internal: boolean, reflector: boolean): Session['nextHop'] {
  if (peer?.nextHopMode === 'Keep') return 'keep';
  if (peer?.nextHopMode === 'Self' && !(internal && reflector)) return 'self';
  return internal ? 'self ebgp' : 'self';
}
