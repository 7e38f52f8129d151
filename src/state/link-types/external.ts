import type { Family } from '../../ip/address.ts';
import type { Geneve } from '../../linux/link/geneve.ts';
import type { Gre } from '../../linux/link/gre.ts';
import type { LinkData } from '../../linux/link/kinds.ts';
import type { Vxlan } from '../../linux/link/vxlan.ts';
import { words } from '../kind.ts';
import type { LinkType } from './link-type.ts';
import { refusedByMembers } from './members.ts';

/**
 * A tunnel device for all peers, both families and any VNI: where a packet goes, it learns from the packet's
 * route (`encapsulation`). The kernel calls that collecting metadata, `ip` calls it `external`. `port`: UDP,
 * host order; GRE has none.
 */
export type ExternalLink<Type extends string = string> = { readonly type: Type; readonly port?: number };

/** Open vSwitch's VXLAN. The other VXLAN devices have a type of their own. */
export const vxlanExternal = external<'vxlan-external'>({
  type: 'vxlan-external',
  backend: 'vxlan-md',
  carries: [4, 6],
  describes: (data) => data.kind === 'vxlan' && data.collectMetadata === true,
  data: ({ port }) => ({ kind: 'vxlan', port, learning: false, collectMetadata: true }),
  portOf: (data) => (data as Vxlan).port,
  text: 'vxlan',
});

export const geneveExternal = external<'geneve'>({
  type: 'geneve',
  backend: 'geneve',
  carries: [4, 6],
  describes: (data) => data.kind === 'geneve' && data.collectMetadata === true,
  data: ({ port }) => ({ kind: 'geneve', port, collectMetadata: true }),
  portOf: (data) => (data as Geneve).port,
  text: 'geneve',
});

/** Ethernet in GRE, as Open vSwitch has it: over IPv4 and over IPv6 they are two types. */
export const gretapExternal = gre('gretap', 4);
export const ip6gretapExternal = gre('ip6gretap', 6);

function gre<Kind extends Gre['kind']>(kind: Kind, family: Family): LinkType<ExternalLink<Kind>> {
  return external<Kind>({
    type: kind,
    backend: 'gre',
    carries: [family],
    describes: (data) => data.kind === kind && data.collectMetadata,
    data: () => ({ kind, collectMetadata: true }),
    portOf: () => undefined,
    text: kind,
  });
}

type Description<Type extends string> = {
  readonly type: Type;
  /** What its table of nodes is called after. */
  readonly backend: string;
  readonly carries: readonly Family[];
  readonly describes: (data: LinkData) => boolean;
  readonly data: (link: ExternalLink<Type>) => LinkData;
  readonly portOf: (data: LinkData) => number | undefined;
  readonly text: string;
};

function external<Type extends string>(of: Description<Type>): LinkType<ExternalLink<Type>> {
  const { type, backend, carries, describes, data, portOf, text } = of;
  return {
    type,
    sample: data({ type, port: 4 }),
    describes,
    read: (found) => {
      const port = portOf(found);
      return { type, ...(port !== undefined && { port }) };
    },
    data,
    changeable: [],
    text: ({ port }) => words(text, port === undefined ? '' : `dstport ${port}`, 'external'),
    carries: () => carries,

    depart: ({ name, link }, gateway, { macs }, encapsulation) => {
      if (!encapsulation) return { lost: `the route into ${name} names no remote end` };
      const mac = macs.get(`${name} ${gateway}`);
      if (mac === undefined) return { lost: `no neighbour ${gateway} on ${name}` };
      return { dst: encapsulation.dst, by: link, mac };
    },
    arrive: (packet, src, ports, tables) => {
      const { by, mac } = packet;
      const port = ports.find(({ link }) => link.port === by.port);
      if (!port) return words('no', type, 'device', by.port === undefined ? '' : `on port ${by.port}`);
      if (!port.up) return `${port.name} is down`;
      if (mac !== port.mac) return `the frame is for ${mac}, ${port.name} is ${port.mac}`;
      return refusedByMembers(`flatnet-${backend}`, packet, src, tables);
    },
  };
}
