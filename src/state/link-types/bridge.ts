import type { Bridge } from '../../linux/link/bridge.ts';
import type { LinkType } from './link-type.ts';

/** A plain switch: neither spanning tree nor VLANs, nor MACs learnt from LLDP, unless stated. */
export type BridgeLink = {
  readonly type: 'bridge';
  readonly stp?: true;
  readonly vlanFiltering?: true;
  readonly linkLocalLearning?: true;
};

export const bridge: LinkType<BridgeLink> = {
  type: 'bridge',
  sample: { kind: 'bridge' },
  read: ({ stp, vlanFiltering, linkLocalLearning }: Bridge) => ({
    type: 'bridge',
    ...(stp && { stp }),
    ...(vlanFiltering && { vlanFiltering }),
    ...(linkLocalLearning && { linkLocalLearning }),
  }),
  // Some kernels have no VLAN filtering, and refuse even to turn it off.
  data: ({ stp, vlanFiltering, linkLocalLearning = false }) => ({
    kind: 'bridge',
    stp,
    vlanFiltering,
    linkLocalLearning,
  }),
  changeable: ['stp', 'vlanFiltering', 'linkLocalLearning'],
  change: (link, _index, was) => {
    const [wanted, present] = [settings(link), settings(was)];
    const changed = (name: keyof typeof wanted): boolean | undefined =>
      wanted[name] === present[name] ? undefined : wanted[name];
    return {
      kind: 'bridge',
      stp: changed('stp'),
      vlanFiltering: changed('vlanFiltering'),
      linkLocalLearning: changed('linkLocalLearning'),
    };
  },
  text: (link) => {
    const { stp, vlanFiltering, linkLocalLearning } = settings(link);
    return `bridge stp_state ${Number(stp)} vlan_filtering ${Number(vlanFiltering)} no_linklocal_learn ${Number(!linkLocalLearning)}`;
  },
  carries: () => [],
  depart: () => ({ delivered: true }),
  arrive: () => 'a bridge terminates no tunnel',
};

function settings({ stp, vlanFiltering, linkLocalLearning }: BridgeLink) {
  return {
    stp: stp ?? false,
    vlanFiltering: vlanFiltering ?? false,
    linkLocalLearning: linkLocalLearning ?? false,
  };
}
