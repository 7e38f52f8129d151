import { familyOf, type Ip, parseIp } from '../../ip/address.ts';
import type { Vxlan } from '../../linux/link/vxlan.ts';
import { words } from '../kind.ts';
import type { LinkType } from './link-type.ts';
import { refusedByMembers } from './members.ts';

export type VxlanLink = {
  readonly type: 'vxlan';
  readonly vni: number;
  /** UDP, host order. */
  readonly port: number;
  readonly local: Ip;
  /** The underlay device. */
  readonly dev: string;
  readonly learning: boolean;
  readonly gbp: boolean;
  /**
   * Whether outer UDP checksums are computed (IPv4 only; IPv6 always has them). Absent: a new device computes
   * none, and one that is there, such as flannel's, does as before: changing it would take a new device.
   */
  readonly udpChecksum?: boolean;
  /** Let user space resolve unknown neighbours and FDB entries (`proxy l2miss l3miss`). */
  readonly onDemand: boolean;
};

const NO_IP: Ip = parseIp('0.0.0.0');

export const vxlan: LinkType<VxlanLink> = {
  type: 'vxlan',
  sample: { kind: 'vxlan', id: 1, local: parseIp('127.0.0.1'), port: 8472 },
  describes: (data) => data.kind === 'vxlan' && !data.collectMetadata,
  read: (data: Vxlan, nameOf) => ({
    type: 'vxlan',
    vni: data.id ?? 0,
    port: data.port ?? 0,
    local: data.local ?? NO_IP,
    dev: (data.dev === undefined ? undefined : nameOf(data.dev)) ?? '',
    learning: data.learning ?? false,
    gbp: data.gbp ?? false,
    udpChecksum: data.udpChecksum ?? false,
    onDemand: (data.proxy || data.l2miss || data.l3miss) ?? false,
  }),
  data: ({ vni, port, local, dev, learning, gbp, udpChecksum = false, onDemand }, index) => {
    const misses = onDemand ? { proxy: true, l2miss: true, l3miss: true } : {};
    return { kind: 'vxlan', id: vni, port, local, dev: index(dev), learning, gbp, udpChecksum, ...misses };
  },
  // vxlan_nl2conf refuses the rest (EOPNOTSUPP).
  changeable: ['local', 'dev', 'learning'],
  kept: ['udpChecksum'],
  // vxlan_nl2conf requires the VNI, and turns learning off if it is not given.
  change: ({ vni, local, dev, learning }, index) => ({
    kind: 'vxlan',
    id: vni,
    local,
    dev: index(dev),
    learning,
  }),
  text: ({ vni, local, dev, port, learning, udpChecksum, gbp, onDemand }) =>
    words(
      `vxlan id ${vni} local ${local} dev ${dev} dstport ${port}`,
      learning ? 'learning' : 'nolearning',
      udpChecksum ? '' : 'noudpcsum',
      gbp ? 'gbp' : '',
      onDemand ? 'proxy l2miss l3miss' : '',
    ),
  lower: ({ dev }) => dev,
  isOnDemand: ({ onDemand }) => onDemand,
  carries: ({ local }) => [familyOf(local)],

  depart: ({ name, link }, gateway, { macs, ends }) => {
    const mac = macs.get(`${name} ${gateway}`);
    if (mac === undefined) return { lost: `no neighbour ${gateway} on ${name}` };
    const dst = ends.get(`${name} ${mac}`);
    return dst === undefined ? { lost: `no FDB entry ${mac} on ${name}` } : { dst, by: link, mac };
  },
  arrive: (packet, src, ports, tables) => {
    const { dst, by, mac } = packet;
    for (const { name, up, mac: own, link } of ports) {
      const { vni, port, local, gbp } = link;
      if (vni !== by.vni || port !== by.port || familyOf(local) !== familyOf(dst)) continue;
      if (!up) return `${name} is down`;
      if (local !== dst) return `${name} is bound to ${local}`;
      if (gbp !== by.gbp) return 'group policy extension enabled on one side only';
      if (mac !== own) return `the frame is for ${mac}, ${name} is ${own}`;
      return refusedByMembers('flatnet-vxlan', packet, src, tables);
    }
    return `no vxlan device with VNI ${by.vni} on port ${by.port}`;
  },
};
