import type { Bridge } from '../../linux/link/bridge.ts';
import type { LinkType } from './link-type.ts';

/** A plain switch: neither spanning tree nor VLANs, unless stated. */
export type BridgeLink = { readonly type: 'bridge'; readonly stp?: true; readonly vlanFiltering?: true };

export const bridge: LinkType<BridgeLink> = {
  type: 'bridge',
  sample: { kind: 'bridge' },
  read: ({ stp, vlanFiltering }: Bridge) => ({
    type: 'bridge',
    ...(stp && { stp }),
    ...(vlanFiltering && { vlanFiltering }),
  }),
  data: ({ stp, vlanFiltering }) => ({ kind: 'bridge', stp, vlanFiltering }),
  changeable: ['stp', 'vlanFiltering'],
  change: ({ stp = false, vlanFiltering = false }) => ({ kind: 'bridge', stp, vlanFiltering }),
  text: ({ stp, vlanFiltering }) =>
    `bridge stp_state ${Number(stp ?? false)} vlan_filtering ${Number(vlanFiltering ?? false)}`,
  carries: () => [],
  depart: () => ({ delivered: true }),
  arrive: () => 'a bridge terminates no tunnel',
};
