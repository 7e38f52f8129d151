import type { LinkType } from './link-type.ts';

/** An intermediate functional block: queues packets that another device has received, on their way in. */
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
