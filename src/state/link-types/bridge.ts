import type { LinkType } from './link-type.ts';

export type BridgeLink = { readonly type: 'bridge' };

export const bridge: LinkType<BridgeLink> = {
  type: 'bridge',
  read: () => ({ type: 'bridge' }),
  data: () => ({ kind: 'bridge' }),
  changeable: [],
  text: () => 'bridge',
  carries: () => [],
  depart: () => ({ delivered: true }),
  arrive: () => 'a bridge terminates no tunnel',
};
