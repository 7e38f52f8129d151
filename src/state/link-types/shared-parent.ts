import type { IpvlanMode } from '../../linux/link/ipvlan.ts';
import type { LinkData } from '../../linux/link/kinds.ts';
import { LOOPBACK_INDEX } from '../../linux/link/link.ts';
import type { MacvlanMode } from '../../linux/link/macvlan.ts';
import type { LinkType } from './link-type.ts';

/** An interface on the network of another one, its parent. */
export type SharedParentLink<Type extends string, Mode extends string> = {
  readonly type: Type;
  readonly dev: string;
  readonly mode: Mode;
};

export type MacvlanLink = SharedParentLink<'macvlan', MacvlanMode>;
export type IpvlanLink = SharedParentLink<'ipvlan', IpvlanMode>;

export const macvlan = sharedParent<'macvlan', MacvlanMode>('macvlan', 'bridge', (parent, mode) => ({
  kind: 'macvlan',
  parent,
  mode,
}));

export const ipvlan = sharedParent<'ipvlan', IpvlanMode>('ipvlan', 'l2', (parent, mode) => ({
  kind: 'ipvlan',
  parent,
  mode,
}));

/** Modes in which those who share a parent do not reach each other by it; with `vepa`, a switch may help. */
const APART: ReadonlySet<string> = new Set<MacvlanMode>(['private', 'vepa', 'passthru']);
/** Those in which nobody needs a MAC. */
const ROUTED: ReadonlySet<string> = new Set<IpvlanMode>(['l3', 'l3s']);

function sharedParent<Type extends 'macvlan' | 'ipvlan', Mode extends string>(
  type: Type,
  usual: Mode,
  dataOf: (parent: number | undefined, mode: Mode) => LinkData,
): LinkType<SharedParentLink<Type, Mode>> {
  return {
    type,
    sample: dataOf(LOOPBACK_INDEX, usual),
    read: (data, nameOf) => {
      const { parent, mode } = data as { readonly parent?: number; readonly mode?: Mode };
      return {
        type,
        dev: (parent === undefined ? undefined : nameOf(parent)) ?? '',
        mode: mode ?? usual,
      };
    },
    data: ({ dev, mode }, index) => dataOf(index(dev), mode),
    changeable: ['mode'],
    change: ({ mode }) => dataOf(undefined, mode),
    text: ({ mode }) => `${type} mode ${mode}`,
    lower: ({ dev }) => dev,
    sharesLower: true,
    carries: () => [],
    depart: ({ name, link: { mode } }, gateway, { macs }) => {
      if (APART.has(mode))
        return { lost: `in mode ${mode}, ${name} reaches none of those who share its parent` };
      if (ROUTED.has(mode) || macs.has(`${name} ${gateway}`)) return { delivered: true };
      return { lost: `no neighbour ${gateway} on ${name}` };
    },
    arrive: () => `a ${type} device terminates no tunnel`,
  };
}
