import type { BgpPeer } from '../../../cluster/resources.ts';
import { BgpCluster, isGlobal } from './cluster.ts';
import type { BgpFacts } from './facts.ts';
import { isolationReason, meshOf, type Wanted, wantedBy } from './peering.ts';
import { obstacleOf, type Session, sessionOf } from './session.ts';

/**
 * Returns this node's BGP sessions, sorted by name, and warnings about those that can't be set up. Sessions
 * come from the BGPPeers that concern this node and from the mesh of all nodes that aren't reflectors. When
 * several require the same session, a BGPPeer for some nodes wins over one for all nodes, and that over the
 * mesh.
 */
export function sessionsOf(facts: BgpFacts): {
  readonly sessions: readonly Session[];
  readonly warnings: readonly string[];
} {
  const cluster = new BgpCluster(facts);
  const sessions = new Map<string, Session>();
  const warnings = new Set<string>();
  const add = (wanted: Wanted, origin: string): void => {
    const session = sessionOf(cluster, wanted);
    if (sessions.has(session.name)) return;
    const obstacle = obstacleOf(cluster, wanted, session);
    if (obstacle) warnings.add(`${origin}: no session with ${wanted.address}: ${obstacle}`);
    else sessions.set(session.name, session);
  };
  for (const peer of inOrder(facts.resources.bgpPeers)) {
    for (const wanted of wantedBy(cluster, peer)) add(wanted, `BGPPeer ${peer.name}`);
  }
  for (const wanted of meshOf(cluster)) add(wanted, 'node-to-node mesh');
  const isolated = sessions.size === 0 && warnings.size === 0 ? isolationReason(cluster) : undefined;
  if (isolated !== undefined) warnings.add(isolated);
  return {
    sessions: [...sessions.values()].sort((a, b) => (a.name < b.name ? -1 : 1)),
    warnings: [...warnings],
  };
}

/** BGPPeers for some nodes before those for all, each sorted by name. */
function inOrder(peers: readonly BgpPeer[]): BgpPeer[] {
  return peers.toSorted((a, b) => Number(isGlobal(a)) - Number(isGlobal(b)) || (a.name < b.name ? -1 : 1));
}
