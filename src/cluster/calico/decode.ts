import { Fields } from '../fields.ts';
import type { BgpConfiguration, BgpFilter, BgpPeer, IpPool, IpReservation, NodeBgp } from '../resources.ts';
import { DEFAULT_BGP_CONFIGURATION, type Resources } from '../resources.ts';
import { readBgpConfiguration } from './bgp-configuration.ts';
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

/** Reads what a document says. `where` as of `readDocument`. Throws CONFIG_INVALID naming resource and field. */
export function decode(document: Document, where = ''): Resource {
  const { kind, metadata } = document;
  const { name } = metadata;
  const spec = new Fields(document.spec, `${where}${titleOf(document)} spec`);
  switch (kind) {
    case 'IPPool':
      return { kind, value: readIpPool(name, spec) };
    case 'IPReservation':
      return { kind, value: readIpReservation(name, spec) };
    case 'BGPConfiguration':
      return { kind, value: readBgpConfiguration(spec) };
    case 'BGPPeer':
      return { kind, value: readBgpPeer(name, spec) };
    case 'BGPFilter':
      return { kind, value: readBgpFilter(name, spec) };
    case 'Node':
      return { kind, value: readNodeBgp(name, spec, metadata.labels ?? {}) };
  }
}

/** All of a cluster's, each kind sorted by name. Lists that `before` has the same are its own objects. */
export function collect(all: Iterable<Resource>, before?: Resources): Resources {
  const by = Map.groupBy(all, ({ kind }) => kind);
  const values = <K extends Resource['kind']>(kind: K) =>
    (by.get(kind) ?? []).map((each) => each.value as Extract<Resource, { kind: K }>['value']);
  const named = <T extends { readonly name: string }>(
    list: readonly T[],
    old?: readonly T[],
  ): readonly T[] => {
    const sorted = list.toSorted((a, b) => (a.name < b.name ? -1 : 1));
    return old && sorted.length === old.length && sorted.every((each, i) => each === old[i]) ? old : sorted;
  };
  const nodes = values('Node');
  return {
    ipPools: named(values('IPPool'), before?.ipPools),
    ipReservations: named(values('IPReservation'), before?.ipReservations),
    bgpConfiguration: values('BGPConfiguration')[0] ?? DEFAULT_BGP_CONFIGURATION,
    bgpPeers: named(values('BGPPeer'), before?.bgpPeers),
    bgpFilters: named(values('BGPFilter'), before?.bgpFilters),
    nodes:
      before && sameValues(nodes, before.nodes)
        ? before.nodes
        : Object.fromEntries(nodes.map((node) => [node.name, node])),
  };
}

function sameValues(nodes: readonly NodeBgp[], before: Resources['nodes']): boolean {
  return nodes.length === Object.keys(before).length && nodes.every((node) => before[node.name] === node);
}
