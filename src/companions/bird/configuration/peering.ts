import type { Node } from '../../../cluster/node.ts';
import type { BgpPeer } from '../../../cluster/resources.ts';
import { FAMILIES, familyOf, type Ip } from '../../../ip/address.ts';
import type { BgpCluster } from './cluster.ts';

/** A peer to hold a session with, and the BGPPeer that requires it; undefined if it is the mesh. */
export type Wanted = {
  readonly address: Ip;
  readonly node?: Node;
  readonly peer?: BgpPeer;
};

/** The node-to-node mesh: every node with every other, except route reflectors. */
export function meshOf(cluster: BgpCluster): Wanted[] {
  const { self, others, resources } = cluster;
  if (!resources.bgpConfiguration.nodeToNodeMeshEnabled || cluster.clusterIdOf(self)) return [];
  return others.filter((node) => !cluster.clusterIdOf(node)).flatMap((node) => towards(cluster, node));
}

/** The sessions a BGPPeer requires of this node, as a node that it selects or as its other end. */
export function wantedBy(cluster: BgpCluster, peer: BgpPeer): Wanted[] {
  const { self, others } = cluster;
  const near = cluster.selects(peer);
  const far = cluster.isOtherEndOf(peer);
  const nodes = others.filter((node) => (near(self) && far(node)) || (far(self) && near(node)));
  const wanted: Wanted[] = nodes.flatMap((node) => towards(cluster, node, peer));
  const outside = peer.peerIp !== undefined && ![self, ...others].some(far);
  if (outside && peer.peerIp && near(self)) wanted.push({ address: peer.peerIp, peer });
  return wanted;
}

function towards({ self }: BgpCluster, node: Node, peer?: BgpPeer): Wanted[] {
  return FAMILIES.flatMap((family) => {
    const address = node.addresses[family];
    if (address === undefined || self.addresses[family] === undefined) return [];
    // A BGPPeer with an address is about that one address, whichever end has it.
    if (peer?.peerIp !== undefined && familyOf(peer.peerIp) !== family) return [];
    return [{ address, node, ...(peer && { peer }) }];
  });
}

/** Explains why this node has no session; undefined when there is no other node. */
export function isolationReason(cluster: BgpCluster): string | undefined {
  const { self, others, resources } = cluster;
  if (others.length === 0) return undefined;
  const { bgpPeers, bgpConfiguration } = resources;
  const clusterId = cluster.clusterIdOf(self);
  const seeking = bgpPeers
    .filter((peer) => cluster.selects(peer)(self))
    .map(({ name, peerSelector, peerIp }) => ({ name, far: peerSelector ?? peerIp ?? 'its other end' }));
  const peers = seeking.length
    ? seeking.map(({ name, far }) => `BGPPeer ${name} matches no other node (${far})`).join(', ')
    : 'no BGPPeer selects it';
  const fix = seeking.length ? 'fix the BGPPeer or the nodes’ labels' : 'add a BGPPeer';
  const alone = (reason: string, ...fixes: string[]): string =>
    `this node has no BGP session: ${reason}, and ${peers}; ${[fix, ...fixes].join(', or ')}`;
  if (bgpConfiguration.nodeToNodeMeshEnabled) {
    if (clusterId === undefined) return alone('the node-to-node mesh has no other node');
    return alone(
      `its routeReflectorClusterID ${clusterId} keeps it out of the node-to-node mesh`,
      `remove the routeReflectorClusterID from Node ${self.name}`,
    );
  }
  if (clusterId !== undefined) return alone('the node-to-node mesh is off');
  return alone('the node-to-node mesh is off', 'set nodeToNodeMeshEnabled in the BGPConfiguration');
}
