import { API_VERSION, type Document } from '../../cluster/calico/document.ts';
import { FAMILIES, type Family } from '../../ip/address.ts';
import { torAddress } from '../machine/underlay-plan.ts';
import type { BgpTopology, LabNode } from '../record/topology.ts';

/** RFC 4456 reserves no address space for cluster IDs; Calico's documentation uses this one. */
const CLUSTER_ID = '244.0.0.1';

/** The AS of a rack's nodes; a rack is an underlay subnet. Private use, as the router's (RFC 6996). */
export function rackAs(rack: number): number {
  return 64_600 + rack;
}

export function torAs(rack: number): number {
  return 65_000 + rack;
}

/**
 * The resources that make up the topology, in an order that never leaves a node without peers: the mesh is
 * turned off last.
 */
export function bgpResources(
  { reflectors = 0, tor }: BgpTopology,
  nodes: readonly LabNode[],
  subnets: number,
  families: readonly Family[],
): Document[] {
  if (reflectors === 0 && tor === undefined) return [];
  const racks = Array.from({ length: tor === undefined ? 0 : subnets }, (_, rack) => rack);
  return [
    ...(reflectors > 0 ? [REFLECTED] : []),
    ...racks.flatMap((rack) => rackPeers(rack, families)),
    ...nodes.flatMap((node) => nodeResources({ reflectors, ...(tor && { tor }) }, node)),
    resource('BGPConfiguration', 'default', { nodeToNodeMeshEnabled: false }),
  ];
}

/** The BGP resources of one node; none for a reflector's client or a member of the mesh. */
export function nodeResources({ reflectors = 0, tor }: BgpTopology, node: LabNode): Document[] {
  if (tor !== undefined) {
    const spec = { bgp: { asNumber: rackAs(node.subnet) } };
    return [resource('Node', node.name, spec, { rack: rackName(node.subnet) })];
  }
  if (node.index > reflectors) return [];
  const spec = { bgp: { routeReflectorClusterID: CLUSTER_ID } };
  return [resource('Node', node.name, spec, { 'route-reflector': 'true' })];
}

/** Every node, including the reflectors, peers with every reflector. */
const REFLECTED = resource('BGPPeer', 'route-reflectors', {
  nodeSelector: 'all()',
  peerSelector: "route-reflector == 'true'",
});

/**
 * A rack's nodes peer with its router and with each other: routes passed between them by the router carry
 * their own AS in the path, which BGP rejects as a loop.
 */
function rackPeers(rack: number, families: readonly Family[]): Document[] {
  const nodeSelector = `rack == '${rackName(rack)}'`;
  const toRouter = FAMILIES.filter((family) => families.includes(family)).map((family) =>
    resource('BGPPeer', `${rackName(rack)}-tor${family === 6 ? '-ipv6' : ''}`, {
      nodeSelector,
      peerIP: torAddress(rack, family),
      asNumber: torAs(rack),
    }),
  );
  const inside = resource('BGPPeer', `${rackName(rack)}-nodes`, { nodeSelector, peerSelector: nodeSelector });
  return [...toRouter, inside];
}

function rackName(rack: number): string {
  return `rack${rack}`;
}

function resource(
  kind: Document['kind'],
  name: string,
  spec: Readonly<Record<string, unknown>>,
  labels?: Readonly<Record<string, string>>,
): Document {
  return { apiVersion: API_VERSION, kind, metadata: { name, ...(labels && { labels }) }, spec };
}
