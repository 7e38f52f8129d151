import type { LinkType } from './link-type.ts';

/** A device whose queueing discipline packets pass that another device has received. */
export type IfbLink = { readonly type: 'ifb' };

export const ifb: LinkType<IfbLink> = {
  type: 'ifb',
  sample: { kind: 'ifb' },
  read: () => ({ type: 'ifb' }),
  data: () => ({ kind: 'ifb' }),
  changeable: [],
  text: () => 'ifb',
  carries: () => [],
  depart: () => ({ lost: 'an ifb device sends nothing' }),
  arrive: () => 'an ifb device terminates no tunnel',
};
