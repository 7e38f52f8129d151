import { type Ip, parseIp } from '../../ip/address.ts';
import type { Ipip } from '../../linux/link/ipip.ts';
import { words } from '../kind.ts';
import type { LinkType } from './link-type.ts';
import { refusedByMembers } from './members.ts';

/**
 * IPv4 in IPv4. Without endpoints it is `tunl0`, which the kernel's module creates: it can be set up and
 * down, but neither created nor deleted, and each route's gateway is the remote end.
 */
export type IpipLink = { readonly type: 'ipip'; readonly local?: Ip; readonly remote?: Ip };

export const ipip: LinkType<IpipLink> = {
  type: 'ipip',
  // Its endpoints distinguish it from `tunl0`.
  sample: { kind: 'ipip', local: parseIp('127.0.0.1'), remote: parseIp('127.0.0.2') },
  read: ({ local, remote }: Ipip) => ({
    type: 'ipip',
    ...(local !== undefined && { local }),
    ...(remote !== undefined && { remote }),
  }),
  data: ({ local, remote }) => ({ kind: 'ipip', local, remote }),
  changeable: [],
  text: ({ local, remote }) =>
    words(
      'ipip',
      local === undefined ? '' : `local ${local}`,
      remote === undefined ? '' : `remote ${remote}`,
    ),
  isBuiltIn: ({ local, remote }) => local === undefined && remote === undefined,
  carries: () => [4],

  depart: ({ link }, gateway) => ({ dst: link.remote ?? gateway, by: link }),
  arrive: (packet, src, ports, tables) => {
    const port = ports.find(({ link }) => link.local === packet.dst) ?? ports.find(({ link }) => !link.local);
    if (!port) return 'no ipip device';
    if (!port.up) return `${port.name} is down`;
    const table = port.link.local === undefined ? 'flatnet-tunnels' : 'flatnet-ipip';
    return refusedByMembers(table, packet, src, tables);
  },
};
