import type { Node } from '../../../../src/cluster/node.ts';
import {
  type BgpPeer,
  DEFAULT_BGP_CONFIGURATION,
  type Resources,
} from '../../../../src/cluster/resources.ts';
import type { Ip } from '../../../../src/ip/address.ts';

export const MESH_OFF = { ...DEFAULT_BGP_CONFIGURATION, nodeToNodeMeshEnabled: false };

/** A BGPPeer with defaults only. */
export const PEER: BgpPeer = {
  name: 'p',
  nextHopMode: 'Auto',
  sourceAddress: 'UseNodeIP',
  bfd: false,
  filters: [],
};

/** These nodes with the label `rr`, each with its own cluster id. */
export function reflectors(...nodes: readonly Node[]): Resources['nodes'] {
  return Object.fromEntries(
    nodes.map(({ name }, i) => [
      name,
      { name, labels: { rr: 'true' }, routeReflectorClusterId: `244.0.0.${i + 1}` as Ip },
    ]),
  );
}
