import type { Kind } from '../../cluster/calico/document.ts';
import type { ResourceType } from '../../kubernetes/api/resource.ts';

/** The API group of the CustomResourceDefinitions in deploy/crds. */
export const GROUP = 'flatnet.dev';

const ours = (plural: string, kind: string): ResourceType => ({
  group: GROUP,
  version: 'v1',
  plural,
  kind,
  namespaced: false,
});

export const IPAM_BLOCKS = ours('ipamblocks', 'IPAMBlock');
export const BLOCK_AFFINITIES = ours('blockaffinities', 'BlockAffinity');
export const IPAM_HANDLES = ours('ipamhandles', 'IPAMHandle');
export const IPAM_CONFIGS = ours('ipamconfigs', 'IPAMConfig');

const calicos = (plural: string, kind: Kind) => ({
  group: 'crd.projectcalico.org',
  version: 'v1',
  plural,
  kind,
  namespaced: false,
});

/** Where Calico itself keeps them. Its Node consists of a Node's annotations. */
export const CALICO_TYPES = {
  IPPool: calicos('ippools', 'IPPool'),
  IPReservation: calicos('ipreservations', 'IPReservation'),
  BGPConfiguration: calicos('bgpconfigurations', 'BGPConfiguration'),
  BGPPeer: calicos('bgppeers', 'BGPPeer'),
  BGPFilter: calicos('bgpfilters', 'BGPFilter'),
} satisfies Partial<Record<Kind, ResourceType>>;

export type CalicoKind = keyof typeof CALICO_TYPES;

/** Where resources of a kind are. Calico's Node is NodeBGP: it must not be taken for Kubernetes' own. */
export const RESOURCE_TYPES: Readonly<Record<Kind, ResourceType>> = {
  IPPool: ours('ippools', 'IPPool'),
  IPReservation: ours('ipreservations', 'IPReservation'),
  BGPConfiguration: ours('bgpconfigurations', 'BGPConfiguration'),
  BGPPeer: ours('bgppeers', 'BGPPeer'),
  BGPFilter: ours('bgpfilters', 'BGPFilter'),
  Node: ours('nodebgps', 'NodeBGP'),
};
