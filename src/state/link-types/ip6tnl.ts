import type { LinkType } from './link-type.ts';
import { refusedByMembers } from './members.ts';

/** IPv6 in IPv6, by one device for all peers: each route names the remote end (`encapsulation`). */
export type Ip6tnlLink = { readonly type: 'ip6tnl' };

export const ip6tnl: LinkType<Ip6tnlLink> = {
  type: 'ip6tnl',
  sample: { kind: 'ip6tnl', collectMetadata: true },
  describes: (data) => data.kind === 'ip6tnl' && data.collectMetadata,
  read: () => ({ type: 'ip6tnl' }),
  data: () => ({ kind: 'ip6tnl', collectMetadata: true }),
  changeable: [],
  text: () => 'ip6tnl mode ip6ip6 external',
  carries: () => [6],

  depart: ({ name, link }, _gateway, _tables, encapsulation) =>
    encapsulation
      ? { dst: encapsulation.dst, by: link }
      : { lost: `the route into ${name} names no remote end` },
  arrive: (packet, src, [port], tables) => {
    if (!port) return 'no ip6tnl device';
    if (!port.up) return `${port.name} is down`;
    return refusedByMembers('flatnet-ipip', packet, src, tables);
  },
};
