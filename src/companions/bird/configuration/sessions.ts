import type { BgpPeer } from '../../../cluster/resources.ts';
import { BgpCluster, isGlobal } from './cluster.ts';
import type { BgpFacts } from './facts.ts';
import { loneliness, meshOf, type Wanted, wantedBy } from './peering.ts';
import { type Session, sessionOf, troubleOf } from './session.ts';

/**
 * Every BGP session of this node, sorted by name, and what is wrong with those that cannot be: the mesh of
 * all nodes that are no reflectors, and what each BGPPeer says of this node. Of several reasons for one
 * session, the first of (a BGPPeer for some nodes, for all, the mesh) counts.
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
    const trouble = troubleOf(cluster, wanted, session);
    if (trouble) warnings.add(`${origin}: no session with ${wanted.address}: ${trouble}`);
    else sessions.set(session.name, session);
  };
  for (const peer of inOrder(facts.resources.bgpPeers)) {
    for (const wanted of wantedBy(cluster, peer)) add(wanted, `BGPPeer ${peer.name}`);
  }
  for (const wanted of meshOf(cluster)) add(wanted, 'node-to-node mesh');
  const lonely = sessions.size === 0 && warnings.size === 0 ? loneliness(cluster) : undefined;
  if (lonely !== undefined) warnings.add(lonely);
  return {
    sessions: [...sessions.values()].sort((a, b) => (a.name < b.name ? -1 : 1)),
    warnings: [...warnings],
  };
}

/** Those for some nodes before those for all; each by name. */
function inOrder(peers: readonly BgpPeer[]): BgpPeer[] {
  return peers.toSorted((a, b) => Number(isGlobal(a)) - Number(isGlobal(b)) || (a.name < b.name ? -1 : 1));
}
