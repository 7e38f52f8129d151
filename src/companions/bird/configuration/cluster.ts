import type { Node } from '../../../cluster/node.ts';
import type { BgpPeer, Resources, SecretRef } from '../../../cluster/resources.ts';
import { parseSelector } from '../../../cluster/selector.ts';
import { familyOf, type Ip } from '../../../ip/address.ts';
import { contains } from '../../../ip/cidr.ts';
import { type BgpFacts, secretKey } from './facts.ts';

/** The facts as questions: who this node is to BGP, and who the others are. */
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

  /** Whether a node is one of those a BGPPeer is for. */
  selects(peer: BgpPeer): (node: Node) => boolean {
    if (peer.node !== undefined) return (node) => node.name === peer.node;
    if (peer.nodeSelector === undefined) return () => true;
    const matches = parseSelector(peer.nodeSelector);
    return (node) => matches(this.#labelsOf(node));
  }

  /** Whether a node is what a BGPPeer names as the other end. */
  isOtherEndOf(peer: BgpPeer): (node: Node) => boolean {
    const { peerIp, peerSelector } = peer;
    if (peerIp !== undefined) return (node) => node.addresses[familyOf(peerIp)] === peerIp;
    if (peerSelector === undefined) return () => false;
    const matches = parseSelector(peerSelector);
    return (node) => matches(this.#labelsOf(node));
  }

  /** A BGPPeer's `localAsNumber` is that of the nodes it selects: the other end expects it. */
  asOf(node: Node, peer: BgpPeer | undefined): number {
    const own = this.resources.nodes[node.name]?.asNumber ?? this.resources.bgpConfiguration.asNumber;
    if (!peer) return own;
    if (peer.localAsNumber !== undefined && this.selects(peer)(node)) return peer.localAsNumber;
    return own;
  }

  /** Of a route reflector; undefined for others. */
  clusterIdOf(node: Node): Ip | undefined {
    return this.resources.nodes[node.name]?.routeReflectorClusterId;
  }

  /** Of the mesh without a BGPPeer. */
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

  /** The address that this node's end of a session has, which NAT may show to others as another one. */
  ownAddress(address: Ip): Ip | undefined {
    const family = familyOf(address);
    return this.#facts.self.underlay.addresses[family] ?? this.self.addresses[family];
  }

  #labelsOf(node: Node): Readonly<Record<string, string>> {
    return { ...node.labels, ...this.resources.nodes[node.name]?.labels };
  }
}

/** Whether a BGPPeer is for all nodes. */
export function isGlobal(peer: BgpPeer): boolean {
  return peer.node === undefined && peer.nodeSelector === undefined;
}
