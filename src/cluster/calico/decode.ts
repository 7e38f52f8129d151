import { Fields, type Unknown } from '../fields.ts';
import type { BgpConfiguration, BgpFilter, BgpPeer, IpPool, IpReservation, NodeBgp } from '../resources.ts';
import { DEFAULT_BGP_CONFIGURATION, NO_RESOURCES, type Resources } from '../resources.ts';
import { type LeftOut, readBgpConfiguration } from './bgp-configuration.ts';
import { readBgpFilter } from './bgp-filter.ts';
import { readBgpPeer } from './bgp-peer.ts';
import { type Document, titleOf } from './document.ts';
import { readIpPool, readIpReservation } from './ip-pool.ts';
import { readNodeBgp } from './node-bgp.ts';

/** A resource with its defaults filled in. */
export type Resource =
  | { readonly kind: 'IPPool'; readonly value: IpPool }
  | { readonly kind: 'IPReservation'; readonly value: IpReservation }
  | { readonly kind: 'BGPConfiguration'; readonly value: BgpConfiguration }
  | { readonly kind: 'BGPPeer'; readonly value: BgpPeer }
  | { readonly kind: 'BGPFilter'; readonly value: BgpFilter }
  | { readonly kind: 'Node'; readonly value: NodeBgp };

/**
 * Decodes a document. `where`: see `readDocument`. Throws CONFIG_INVALID naming resource and field. With
 * `leftOut`, entries of the BGPConfiguration's lists are left out if invalid, each reported to it: one wrong
 * community must not cost the nodes their AS number. With `unknown`, fields that nobody knows are ignored,
 * each reported to it.
 */
export function decode(document: Document, where = '', leftOut?: LeftOut, unknown?: Unknown): Resource {
  const { kind, metadata } = document;
  const { name } = metadata;
  const spec = new Fields(document.spec, `${where}${titleOf(document)} spec`, unknown);
  switch (kind) {
    case 'IPPool':
      return { kind, value: readIpPool(name, spec) };
    case 'IPReservation':
      return { kind, value: readIpReservation(name, spec) };
    case 'BGPConfiguration':
      return { kind, value: readBgpConfiguration(spec, leftOut) };
    case 'BGPPeer':
      return { kind, value: readBgpPeer(name, spec) };
    case 'BGPFilter':
      return { kind, value: readBgpFilter(name, spec) };
    case 'Node':
      return { kind, value: readNodeBgp(name, spec, metadata.labels ?? {}) };
  }
}

/** The pools among documents, decoded. */
export function poolsOf(documents: readonly Document[]): IpPool[] {
  return documents
    .filter(({ kind }) => kind === 'IPPool')
    .map((document) => decode(document))
    .flatMap((resource) => (resource.kind === 'IPPool' ? [resource.value] : []));
}

/**
 * Collects a cluster's resources, each kind sorted by name. A list with the same objects as in `before` is
 * the same list.
 */
export function collect(all: Iterable<Resource>, before: Resources = NO_RESOURCES): Resources {
  const by = Map.groupBy(all, ({ kind }) => kind);
  const values = <K extends Resource['kind']>(kind: K) =>
    (by.get(kind) ?? []).map((each) => each.value as Extract<Resource, { kind: K }>['value']);
  const nodes = values('Node');
  const sameNodes =
    nodes.length === Object.keys(before.nodes).length &&
    nodes.every((node) => before.nodes[node.name] === node);
  return {
    ipPools: sorted(values('IPPool'), before.ipPools),
    ipReservations: sorted(values('IPReservation'), before.ipReservations),
    bgpConfiguration: values('BGPConfiguration')[0] ?? DEFAULT_BGP_CONFIGURATION,
    bgpPeers: sorted(values('BGPPeer'), before.bgpPeers),
    bgpFilters: sorted(values('BGPFilter'), before.bgpFilters),
    nodes: sameNodes ? before.nodes : Object.fromEntries(nodes.map((node) => [node.name, node])),
  };
}

function sorted<T extends { readonly name: string }>(
  values: readonly T[],
  before: readonly T[],
): readonly T[] {
  const list = values.toSorted((a, b) => (a.name < b.name ? -1 : 1));
  return list.length === before.length && list.every((each, i) => each === before[i]) ? before : list;
}
