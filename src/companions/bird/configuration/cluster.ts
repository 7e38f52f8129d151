import type { Node } from '../../../cluster/node.ts';
import type { BgpPeer, Resources, SecretRef } from '../../../cluster/resources.ts';
import { parseSelector } from '../../../cluster/selector.ts';
import { familyOf, type Ip } from '../../../ip/address.ts';
import { contains } from '../../../ip/cidr.ts';
import { type BgpFacts, secretKey } from './facts.ts';

/** Answers questions about this node and the others as BGP speakers. */
export class BgpCluster {
  readonly resources: Resources;
  readonly self: Node;
  readonly others: readonly Node[];
  readonly #facts: BgpFacts;

  constructor(facts: BgpFacts) {
    this.#facts = facts;
    this.resources = facts.resources;
    this.self = facts.self.node;
    this.others = facts.nodes.filter((node) => node.name !== this.self.name);
  }

  /** Returns whether a BGPPeer selects a node. */
  selects(peer: BgpPeer): (node: Node) => boolean {
    if (peer.node !== undefined) return (node) => node.name === peer.node;
    if (peer.nodeSelector === undefined) return () => true;
    const matches = parseSelector(peer.nodeSelector);
    return (node) => matches(this.#labelsOf(node));
  }

  /** Returns whether a BGPPeer names a node as the other end. */
  isOtherEndOf(peer: BgpPeer): (node: Node) => boolean {
    const { peerIp, peerSelector } = peer;
    if (peerIp !== undefined) return (node) => node.addresses[familyOf(peerIp)] === peerIp;
    if (peerSelector === undefined) return () => false;
    const matches = parseSelector(peerSelector);
    return (node) => matches(this.#labelsOf(node));
  }

  /**
   * Returns a node's AS number. A BGPPeer's `localAsNumber` applies to the nodes it selects, because the
   * other end expects it.
   */
  asOf(node: Node, peer: BgpPeer | undefined): number {
    const own = this.resources.nodes[node.name]?.asNumber ?? this.resources.bgpConfiguration.asNumber;
    if (!peer) return own;
    if (peer.localAsNumber !== undefined && this.selects(peer)(node)) return peer.localAsNumber;
    return own;
  }

  /** The cluster id of a route reflector; undefined for other nodes. */
  clusterIdOf(node: Node): Ip | undefined {
    return this.resources.nodes[node.name]?.routeReflectorClusterId;
  }

  /** The BGPPeer's password, or the mesh's without a BGPPeer. */
  passwordRef(peer: BgpPeer | undefined): SecretRef | undefined {
    return peer ? peer.password : this.resources.bgpConfiguration.nodeMeshPassword;
  }

  password(peer: BgpPeer | undefined): string | undefined {
    const ref = this.passwordRef(peer);
    return ref && this.#facts.secrets.get(secretKey(ref));
  }

  isOnLink(address: Ip): boolean {
    return this.#facts.self.underlay.onLink.some((cidr) => contains(cidr, address));
  }

  /** The local address of a session. Behind NAT, peers may see a different one. */
  ownAddress(address: Ip): Ip | undefined {
    const family = familyOf(address);
    return this.#facts.self.underlay.addresses[family] ?? this.self.addresses[family];
  }

  #labelsOf(node: Node): Readonly<Record<string, string>> {
    return { ...node.labels, ...this.resources.nodes[node.name]?.labels };
  }
}

/** Whether a BGPPeer applies to all nodes. */
export function isGlobal(peer: BgpPeer): boolean {
  return peer.node === undefined && peer.nodeSelector === undefined;
}
