import type { LinkType } from './link-type.ts';
import { refusedByMembers } from './members.ts';

/** Leads to a program of ours, which makes it and sends its packets to the remote end of each route. */
export type TunLink = { readonly type: 'tun' };

export const tun: LinkType<TunLink> = {
  type: 'tun',
  sample: { kind: 'tun' },
  read: () => ({ type: 'tun' }),
  data: () => ({ kind: 'tun' }),
  isMadeByProgram: true,
  changeable: [],
  text: () => 'tun',
  carries: () => [4, 6],

  depart: ({ link }, gateway, _tables, encapsulation) => ({ dst: encapsulation?.dst ?? gateway, by: link }),
  arrive: (packet, src, [port], tables) => {
    if (!port) return 'no tun device';
    if (!port.up) return `${port.name} is down`;
    return refusedByMembers('flatnet-udp', packet, src, tables);
  },
};
