import type { Node } from '../../../cluster/node.ts';
import type { BgpPeer, Resources, SecretRef } from '../../../cluster/resources.ts';
import { parseSelector } from '../../../cluster/selector.ts';
import { FAMILIES, type Family, familyOf, type Ip, ipCompare } from '../../../ip/address.ts';
import { contains } from '../../../ip/cidr.ts';
import { type BgpFacts, secretKey } from './facts.ts';

/** One BGP session as this node holds it. */
export type Session = {
  /**
   * BIRD's name of it. It says who the other end is, not why we speak with it: so a session outlives its
   * reason's change.
   */
  readonly name: string;
  readonly family: Family;
  readonly reason: 'node-to-node mesh' | 'global' | 'node specific';
  /** The node of ours at the other end; absent outside the cluster. */
  readonly node?: string;
  readonly local: { readonly address?: Ip; readonly port: number; readonly as: number };
  readonly remote: { readonly address: Ip; readonly port: number; readonly as: number };
  /** The other end dials. */
  readonly passive: boolean;
  /** The other end is our route reflector client, in this cluster. */
  readonly clusterId?: Ip;
  readonly nextHop: 'self' | 'self ebgp' | 'keep';
  /** Bound to the interface both are on, so that BFD is that of one hop; else any number of hops. */
  readonly direct: boolean;
  readonly bfd: boolean;
  readonly password?: string;
  /** Seconds. */
  readonly keepalive?: number;
  /** Seconds. */
  readonly restartTime?: number;
  /** At most so many hops away (RFC 5082). */
  readonly ttlSecurity?: number;
  readonly allowedLocalAs?: number;
  /** BGPFilters by name. */
  readonly filters: readonly string[];
};

/**
 * Every BGP session of this node, sorted by name, and what is wrong with those that cannot be: the mesh of
 * all nodes that are no reflectors, and what each BGPPeer says of this node, as the one it selects or as the
 * one at its other end. Both ends compute the same session: of several reasons for one, the first of (a
 * BGPPeer for some nodes, for all, the mesh).
 */
export function sessionsOf(facts: BgpFacts): {
  readonly sessions: readonly Session[];
  readonly warnings: readonly string[];
} {
  const cluster = new Cluster(facts);
  const sessions = new Map<string, Session>();
  const warnings: string[] = [];
  const add = (wanted: Wanted, origin: string): void => {
    const session = cluster.session(wanted);
    if (sessions.has(session.name)) return;
    const trouble = cluster.troubleOf(wanted, session);
    if (trouble) warnings.push(`${origin}: no session with ${wanted.address}: ${trouble}`);
    else sessions.set(session.name, session);
  };
  for (const peer of inOrder(facts.resources.bgpPeers)) {
    for (const wanted of cluster.wantedBy(peer)) add(wanted, `BGPPeer ${peer.name}`);
  }
  for (const wanted of cluster.mesh()) add(wanted, 'node-to-node mesh');
  if (sessions.size === 0 && warnings.length === 0) warnings.push(...cluster.loneliness());
  return {
    sessions: [...sessions.values()].sort((a, b) => (a.name < b.name ? -1 : 1)),
    warnings: [...new Set(warnings)],
  };
}

/** One end to speak with, and the resource that says so; without one it is the mesh. */
type Wanted = {
  readonly address: Ip;
  readonly node?: Node;
  readonly peer?: BgpPeer;
};

class Cluster {
  readonly #facts: BgpFacts;
  readonly #resources: Resources;
  readonly #self: Node;
  readonly #others: readonly Node[];

  constructor(facts: BgpFacts) {
    this.#facts = facts;
    this.#resources = facts.resources;
    this.#self = facts.self.node;
    this.#others = facts.nodes.filter((node) => node.name !== this.#self.name);
  }

  mesh(): Wanted[] {
    if (!this.#resources.bgpConfiguration.nodeToNodeMeshEnabled || this.#clusterIdOf(this.#self)) return [];
    return this.#others.filter((node) => !this.#clusterIdOf(node)).flatMap((node) => this.#towards(node));
  }

  wantedBy(peer: BgpPeer): Wanted[] {
    const near = this.#selects(peer);
    const far = this.#isOtherEndOf(peer);
    const nodes = this.#others.filter(
      (node) => (near(this.#self) && far(node)) || (far(this.#self) && near(node)),
    );
    const wanted: Wanted[] = nodes.flatMap((node) => this.#towards(node, peer));
    const outside = peer.peerIp !== undefined && ![this.#self, ...this.#others].some(far);
    if (outside && peer.peerIp && near(this.#self)) wanted.push({ address: peer.peerIp, peer });
    return wanted;
  }

  /** Why nothing gives this node a session, where there are other nodes. */
  loneliness(): string[] {
    if (this.#others.length === 0) return [];
    const { bgpPeers, bgpConfiguration } = this.#resources;
    const clusterId = this.#clusterIdOf(this.#self);
    const seeking = bgpPeers
      .filter((peer) => this.#selects(peer)(this.#self))
      .map(({ name, peerSelector, peerIp }) => ({ name, far: peerSelector ?? peerIp ?? 'its other end' }));
    const peers = seeking.length
      ? seeking.map(({ name, far }) => `BGPPeer ${name} finds no other node (${far})`).join(', ')
      : 'no BGPPeer is for it';
    const fix = seeking.length ? 'mend the BGPPeer or the labels of nodes' : 'add a BGPPeer';
    const alone = (reason: string, ...fixes: string[]): string[] => [
      `this node has no BGP session with anyone: ${reason}, and ${peers}; ${[fix, ...fixes].join(', or ')}`,
    ];
    if (bgpConfiguration.nodeToNodeMeshEnabled) {
      if (clusterId === undefined) return alone('the node-to-node mesh has no other node to speak with');
      return alone(
        `its routeReflectorClusterID ${clusterId} keeps it out of the node-to-node mesh`,
        `take the routeReflectorClusterID from Node ${this.#self.name}`,
      );
    }
    if (clusterId !== undefined) return alone('the node-to-node mesh is off');
    return alone('the node-to-node mesh is off', 'set nodeToNodeMeshEnabled in the BGPConfiguration');
  }

  session({ address, node, peer }: Wanted): Session {
    const { bgpConfiguration } = this.#resources;
    const family = familyOf(address);
    const own = this.#self.addresses[family];
    const bound = this.#facts.self.underlay.addresses[family] ?? own;
    const localAs = this.#asOf(this.#self, peer);
    const remoteAs = node ? this.#asOf(node, peer) : (peer?.asNumber ?? localAs);
    const remotePort = node ? bgpConfiguration.listenPort : (peer?.port ?? 179);
    const internal = localAs === remoteAs;
    const clusterId = this.#clusterIdOf(this.#self);
    const client = clusterId !== undefined && internal && (!node || this.#clusterIdOf(node) !== clusterId);
    const password = this.#passwordOf(peer);
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
      // One end dials, or two connections meet and one is thrown away again.
      passive: node !== undefined && own !== undefined && ipCompare(address, own) > 0,
      ...(client && { clusterId }),
      nextHop: nextHopOf(peer, internal, clusterId !== undefined),
      direct: bfd && !internal && !peer?.ttlSecurity && this.#isOnLink(address),
      bfd,
      ...(password !== undefined && { password }),
      ...(peer?.keepaliveTime !== undefined && { keepalive: peer.keepaliveTime }),
      ...(restartTime !== undefined && { restartTime }),
      ...(peer?.ttlSecurity !== undefined && { ttlSecurity: peer.ttlSecurity }),
      ...(peer?.numAllowedLocalAsNumbers !== undefined && { allowedLocalAs: peer.numAllowedLocalAsNumbers }),
      filters: peer?.filters ?? [],
    };
  }

  /** Why a session cannot be as it is wanted. */
  troubleOf({ address, peer }: Wanted, session: Session): string | undefined {
    const ref = this.#passwordRef(peer);
    if (ref && session.password === undefined) return `the secret ${secretKey(ref)} is not there`;
    if (session.password !== undefined && !PASSWORD.test(session.password)) {
      // BIRD's strings have no escapes; the kernel's TCP_MD5SIG_MAXKEYLEN is 80.
      return 'its password must be 1 to 80 printable ASCII characters without "';
    }
    if (this.#self.addresses[session.family] === undefined && isBound(peer)) {
      return `this node has no IPv${familyOf(address)} address`;
    }
    const known = new Set(this.#resources.bgpFilters.map(({ name }) => name));
    const missing = session.filters.find((name) => !known.has(name));
    return missing === undefined ? undefined : `there is no BGPFilter ${missing}`;
  }

  #towards(node: Node, peer?: BgpPeer): Wanted[] {
    return FAMILIES.flatMap((family) => {
      const address = node.addresses[family];
      if (address === undefined || this.#self.addresses[family] === undefined) return [];
      // A BGPPeer by address speaks of that one address, whichever end has it.
      if (peer?.peerIp !== undefined && familyOf(peer.peerIp) !== family) return [];
      return [{ address, node, ...(peer && { peer }) }];
    });
  }

  #selects(peer: BgpPeer): (node: Node) => boolean {
    if (peer.node !== undefined) return (node) => node.name === peer.node;
    if (peer.nodeSelector === undefined) return () => true;
    const matches = parseSelector(peer.nodeSelector);
    return (node) => matches(this.#labelsOf(node));
  }

  #isOtherEndOf(peer: BgpPeer): (node: Node) => boolean {
    const { peerIp, peerSelector } = peer;
    if (peerIp !== undefined) return (node) => node.addresses[familyOf(peerIp)] === peerIp;
    if (peerSelector === undefined) return () => false;
    const matches = parseSelector(peerSelector);
    return (node) => matches(this.#labelsOf(node));
  }

  #labelsOf(node: Node): Readonly<Record<string, string>> {
    return { ...node.labels, ...this.#resources.nodes[node.name]?.labels };
  }

  /** `localAsNumber` is that of the nodes a BGPPeer selects: the other end expects it. */
  #asOf(node: Node, peer: BgpPeer | undefined): number {
    const own = this.#resources.nodes[node.name]?.asNumber ?? this.#resources.bgpConfiguration.asNumber;
    if (!peer) return own;
    if (peer.localAsNumber !== undefined && this.#selects(peer)(node)) return peer.localAsNumber;
    return own;
  }

  #clusterIdOf(node: Node): Ip | undefined {
    return this.#resources.nodes[node.name]?.routeReflectorClusterId;
  }

  #passwordRef(peer: BgpPeer | undefined): SecretRef | undefined {
    return peer ? peer.password : this.#resources.bgpConfiguration.nodeMeshPassword;
  }

  #passwordOf(peer: BgpPeer | undefined): string | undefined {
    const ref = this.#passwordRef(peer);
    return ref && this.#facts.secrets.get(secretKey(ref));
  }

  #isOnLink(address: Ip): boolean {
    return this.#facts.self.underlay.onLink.some((cidr) => contains(cidr, address));
  }
}

const PASSWORD = /^[ !#-~]{1,80}$/;

function isGlobal(peer: BgpPeer): boolean {
  return peer.node === undefined && peer.nodeSelector === undefined;
}

/** BIRD's multihop BFD needs an address of its own as well. */
function isBound(peer: BgpPeer | undefined): boolean {
  return peer?.sourceAddress !== 'None' || peer.bfd;
}

/** Those for some nodes before those for all; each by name. */
function inOrder(peers: readonly BgpPeer[]): BgpPeer[] {
  return peers.toSorted((a, b) => Number(isGlobal(a)) - Number(isGlobal(b)) || (a.name < b.name ? -1 : 1));
}

/**
 * A route from outside the cluster gets our address as next hop, for the other nodes need not reach the
 * router it came from. What a reflector passes on keeps its own, or all traffic between nodes would go
 * through the reflector.
 */
function nextHopOf(peer: BgpPeer | undefined, internal: boolean, reflector: boolean): Session['nextHop'] {
  if (peer?.nextHopMode === 'Keep') return 'keep';
  if (peer?.nextHopMode === 'Self' && !(internal && reflector)) return 'self';
  return internal ? 'self ebgp' : 'self';
}
